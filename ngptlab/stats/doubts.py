"""Doubts about comparisons of runs, from their settings, learning rates and machines. Nothing here changes a number.

A doubt has a kind and names the arms that it is about. Code that judges two arms looks at these, never at the words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from typing_extensions import TypedDict

from ngptlab.config import flatten
from ngptlab.learned import nothing_learned
from ngptlab.stats.records import RunRecord
from ngptlab.stats.search import searched_apart, why_untuned

SEEDS = ("seed", "data.seed")
ARM = (*SEEDS, "method", "schedule.warmup_steps")
"""Fields in which two arms may differ, beside those of `FREE` and those that a method says itself (`_of_methods`)."""
FREE = ("optim.", "seams.")
"""Sections in which two arms may differ: each has its own best optimizer settings, and seams belong to the method."""

Kind = Literal[
    "missing",
    "learning",
    "settings",
    "tuning",
    "grids",
    "data",
    "recording",
    "skipped",
    "carried over",
    "schedule",
    "seeds",
    "code",
    "machine",
    "length",
]
FORBIDS: tuple[Kind, ...] = ("learning", "settings", "tuning", "grids", "data", "recording")
"""Kinds that forbid a claim about the arms concerned, because these then differ in more than the method."""

DATA_KEYS = ("data_digest",)
NUMERIC_KEYS = ("compute_dtype", "torch", "ngptlab", "version", "commit")
TIME_KEYS = ("device", "device_name", "threads", "platform", "processes", "runs_at_once")
UNSAID = {"processes": "1", "runs_at_once": "1"}
"""What it means where an environment doesn't say it."""

Arms = dict[str, list[RunRecord]]


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """One thing that makes a comparison doubtful."""

    kind: Kind
    text: str
    """One sentence."""
    arms: tuple[str, ...] = ()
    """The arms that it is about; empty where it is about all of them."""

    @property
    def forbids_claim(self) -> bool:
        """Whether no claim about these arms may be judged."""
        return self.kind in FORBIDS

    def plain(self) -> PlainDoubt:
        """The doubt as plain values for JSON."""
        return {
            "kind": self.kind,
            "text": self.text,
            "arms": list(self.arms),
            "forbids_claim": self.forbids_claim,
        }


class PlainDoubt(TypedDict):
    """A doubt in a file of results."""

    kind: Kind
    text: str
    arms: list[str]
    forbids_claim: bool


class Doubted(TypedDict):
    """Base of every record of a comparison in a file of results."""

    warnings: list[str]
    doubts: list[PlainDoubt]
    """The warnings that have a kind."""


class Searched(Doubted):
    """Base of the record of a comparison whose arms may link searches."""

    searches: dict[str, str]
    """The search that each arm (or rung of a ladder) links; '' where it links none."""


def texts(doubts: Iterable[Doubt], baseline: str | None = None) -> list[str]:
    """The sentences, each once, in order. With a baseline, sentences about two other arms are left out."""
    relevant = [d for d in doubts if baseline is None or len(d.arms) != 2 or baseline in d.arms]
    return list(dict.fromkeys(doubt.text for doubt in relevant))


def forbidding(doubts: Iterable[Doubt], *arms: str) -> list[str]:
    """Why no claim about these arms may be judged: sentences without their full stop. Doubts about other arms don't count."""
    concerned = [d for d in doubts if d.forbids_claim and set(d.arms) <= set(arms)]
    return [text.rstrip(".") for text in texts(concerned)]


def tuning(arms: Mapping[str, Sequence[RunRecord]]) -> list[Doubt]:
    """Doubts about arms whose settings were not searched or are on a grid's edge, and about pairs not searched alike."""
    found = []
    for arm, runs in arms.items():
        if note := tuning_note(runs):
            text = f"Settings of {arm}, learning rate {runs[0].config.optim.lr:.4g}: {note}."
            found.append(Doubt(kind="tuning", arms=(arm,), text=text))
    for a, b in combinations(arms, 2):
        ours, theirs = ((runs[0].config.method, runs[0].search) for runs in (arms[a], arms[b]))
        if how := searched_apart(ours, theirs):
            text = f"{a} and {b} were not tuned alike: {how}."
            found.append(Doubt(kind="grids", arms=(a, b), text=text))
    return found


def tuning_note(runs: Sequence[RunRecord]) -> str | None:
    """Why the runs of an arm are not tuned, or why that is in doubt; None where they are."""
    seeds = {run.config.seed for run in runs}
    notes = (why_untuned(run.config, seeds, run.search) for run in runs)
    return next((note for note in notes if note), None)


def settings(arms: Arms, ignored: Sequence[str] = (), also: str = "") -> list[Doubt]:
    """Doubts about arms whose runs differ in more than their seeds, and about pairs that differ in more than arms may.

    Args:
        ignored: fields that may differ as well.
        also: a word for these fields, used in the sentences.
    """
    within, between = (f"{also} and ", f", {also}") if also else ("", "")
    found = []
    for arm, runs in arms.items():
        if fields := differing(runs, (*SEEDS, *ignored)):
            text = f"Runs of {arm} differ in more than their {within}seeds: {name_fields(fields)}."
            found.append(Doubt(kind="settings", arms=(arm,), text=text))
    for a, b in combinations(arms, 2):
        if fields := unequal(arms[a][0], arms[b][0], ignored):
            text = f"{b} and {a} differ in more than method, optimizer{between} and warm-up: {name_fields(fields)}."
            found.append(Doubt(kind="settings", arms=(a, b), text=text))
    return found


def flat(run: RunRecord) -> dict[str, str]:
    """The fields that decide a run's numbers, as texts by path."""
    return {path: str(value) for path, value in flatten(run.config.science())}


def differing(runs: Sequence[RunRecord], ignored: Sequence[str]) -> dict[str, list[str]]:
    """Fields in which the runs differ, with the distinct values in order."""
    records = [flat(run) for run in runs]
    paths = list(dict.fromkeys(path for record in records for path in record))
    values = {path: list(dict.fromkeys(record.get(path, "none") for record in records)) for path in paths}
    return {path: found for path, found in values.items() if len(found) > 1 and path not in ignored}


def unequal(a: RunRecord, b: RunRecord, ignored: Sequence[str] = ()) -> dict[str, list[str]]:
    """Fields in which two arms differ although arms should not."""
    fields = differing([a, b], (*ARM, *_of_methods(a, b), *ignored))
    return {path: values for path, values in fields.items() if not path.startswith(FREE)}


def _of_methods(a: RunRecord, b: RunRecord) -> list[str]:
    """Fields in which two arms may differ because a method says them itself: its stages of the batch, its own schedule."""
    found = ["train.batch_stages"] if a.own_stages and b.own_stages else []
    if "method" in (a.config.schedule.shape, b.config.schedule.shape):
        found += [f"schedule.{name}" for name in ("shape", "cooldown_frac", "cooldown_shape")]
    return found


def name_fields(fields: dict[str, list[str]]) -> str:
    """The fields with their values in a line: 'train.steps (600, 300), data.source (a, b)'."""
    return ", ".join(f"{path} ({', '.join(values)})" for path, values in fields.items())


def learned_nothing(arms: Arms) -> list[Doubt]:
    """Doubts about runs whose last validation is no better than no training."""
    return [
        Doubt(kind="learning", arms=(arm,), text=f"{run.name}: {why}.")
        for arm, runs in arms.items()
        for run in runs
        if (why := no_better(run))
    ]


def no_better(run: RunRecord) -> str:
    """Why a run learned nothing; '' where it did."""
    val = [(row.step, row.loss_nats, row.stderr_nats) for row in run.val]
    return nothing_learned(val, run.config.model.vocab_size)


def left_out(arms: Arms) -> list[Doubt]:
    """Doubts about runs that made no update with some of their batches, so that they learned from fewer than others."""
    return [
        Doubt(
            kind="skipped",
            arms=(arm,),
            text=f"{run.name}: {run.skipped} of {run.config.train.steps} batches made no update (skipped.jsonl says which).",
        )
        for arm, runs in arms.items()
        for run in runs
        if run.skipped
    ]


def provenance(arms: Arms) -> list[Doubt]:
    """Doubts about runs that read different data, or were computed by different code or on different machines."""
    found: list[Doubt] = []
    for names in [*((name,) for name in arms), *combinations(arms, 2)]:
        values = _recorded([run for name in names for run in arms[name]], DATA_KEYS)
        if values and not any(set(doubt.arms) < set(names) for doubt in found):
            text = f"Runs of {' and '.join(names)} did not read the same data: {name_fields(values)}."
            found.append(Doubt(kind="data", arms=names, text=text))
    runs = [run for arm in arms.values() for run in arm]
    if values := _recorded(runs, NUMERIC_KEYS):
        text = f"The runs were not computed by the same code or numbers: {name_fields(values)}."
        found.append(Doubt(kind="code", text=text))
    if values := _recorded(runs, TIME_KEYS):
        text = f"The runs were not computed on the same machine, so step times can't be compared: {name_fields(values)}."
        found.append(Doubt(kind="machine", text=text))
    return found


def _recorded(runs: Sequence[RunRecord], keys: Sequence[str]) -> dict[str, list[str]]:
    """The keys of the environment, among `keys`, in which the runs differ, with the distinct values in order."""
    values = {
        key: list(dict.fromkeys(run.env.get(key, UNSAID.get(key, "not recorded")) for run in runs))
        for key in keys
    }
    return {key: distinct for key, distinct in values.items() if len(distinct) > 1}
