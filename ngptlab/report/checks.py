"""What makes a comparison doubtful, as sentences. Nothing here changes a number, and no doubt is silent."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ngptlab.config import flatten
from ngptlab.report.load import RunRecord
from ngptlab.report.schema import MethodNumbers

SEEDS = ("seed", "data.seed")
ARM = (*SEEDS, "method", "schedule.warmup_steps")
"""Fields in which two arms may differ, beside those of `FREE`."""
FREE = ("optim.", "seams.")
"""Sections in which two arms may differ: each has its own best optimizer settings, and seams belong to the method."""

DATA_KEYS = ("data_digest",)
NUMERIC_KEYS = ("compute_dtype", "torch", "ngptlab", "version", "commit")
TIME_KEYS = ("device", "device_name", "threads", "platform")

Arms = dict[str, list[RunRecord]]


def flat(run: RunRecord) -> dict[str, str]:
    """The fields that decide a run's numbers, by path, as text."""
    return {path: str(value) for path, value in flatten(run.config.science())}


def differing(runs: Sequence[RunRecord], ignored: Sequence[str]) -> dict[str, list[str]]:
    """Fields in which the runs differ, with the distinct values in order."""
    records = [flat(run) for run in runs]
    paths = list(dict.fromkeys(path for record in records for path in record))
    values = {path: list(dict.fromkeys(record.get(path, "none") for record in records)) for path in paths}
    return {path: found for path, found in values.items() if len(found) > 1 and path not in ignored}


def name_fields(fields: dict[str, list[str]]) -> str:
    """'train.steps (600, 300), data.source (a, b)'."""
    return ", ".join(f"{path} ({', '.join(values)})" for path, values in fields.items())


def lr_note(lr: float, grid: Sequence[float]) -> str | None:
    """Where the learning rate stands in the grid it was chosen from; None where it is inside."""
    if not grid:
        return "not tuned: no grid recorded"
    if not any(math.isclose(lr, value, rel_tol=1e-6) for value in grid):
        return "not from the grid"
    if len(set(grid)) == 1:
        return "not tuned: the grid holds one value"
    for edge, value in (("lowest", min(grid)), ("highest", max(grid))):
        if math.isclose(lr, value, rel_tol=1e-6):
            return f"{edge} of the grid: the optimum may lie beyond"
    return None


def warnings(arms: Arms, methods: dict[str, MethodNumbers]) -> list[str]:
    """Every doubt about this comparison, the gravest first."""
    about_runs = [*_settings(arms), *_tuning(methods), *_seeds(arms, methods)]
    return [*about_runs, *provenance(arms), *_length(arms, methods)]


def _settings(arms: Arms) -> list[str]:
    found = []
    for method, runs in arms.items():
        if fields := differing(runs, SEEDS):
            found.append(f"Runs of {method} differ in more than their seeds: {name_fields(fields)}.")
    baseline, *others = arms
    for other in others:
        fields = differing([arms[baseline][0], arms[other][0]], ARM)
        fields = {path: values for path, values in fields.items() if not path.startswith(FREE)}
        if fields:
            found.append(
                f"{other} and {baseline} differ in more than method, optimizer and warm-up: "
                f"{name_fields(fields)}."
            )
    return found


def _tuning(methods: dict[str, MethodNumbers]) -> list[str]:
    notes = {name: f"{m['lr']:.4g}: {m['lr_note']}" for name, m in methods.items() if m["lr_note"]}
    found = [f"Learning rate of {name}, {note}." for name, note in notes.items()]
    if len({tuple(sorted(m["lr_grid"])) for m in methods.values()}) > 1:
        found.append("The learning rates were chosen from different grids: the methods were not tuned alike.")
    return found


def _seeds(arms: Arms, methods: dict[str, MethodNumbers]) -> list[str]:
    found = []
    single = [name for name, m in methods.items() if len(m["seeds"]) == 1]
    if single:
        found.append(
            f"One seed for {', '.join(single)}: the standard error shown is that of the validation set, "
            "and nothing says how much another seed would move the loss."
        )
    pairs = [name for name, m in methods.items() if len(m["seeds"]) == 2]
    if pairs:
        found.append(f"Two seeds for {', '.join(pairs)}: a claim needs three at least.")
    baseline, *others = arms
    own = {run.seeds for run in arms[baseline]}
    shared = {other: own & {run.seeds for run in arms[other]} for other in others}
    if apart := [other for other in others if not shared[other]]:
        found.append(
            f"No seed shared with {baseline}: {', '.join(apart)}. Their gaps are those of unpaired means."
        )
    if partly := [o for o in others if shared[o] and {run.seeds for run in arms[o]} != own]:
        found.append(
            f"Seeds other than {baseline}'s: {', '.join(partly)}. Their gaps use the shared ones only."
        )
    return found


def provenance(arms: Arms) -> list[str]:
    """Runs that read other data, or were computed by other code or another machine."""
    said = {
        DATA_KEYS: "The runs did not read the same data",
        NUMERIC_KEYS: "The runs were not computed by the same code or numbers",
        TIME_KEYS: "The runs were not computed on the same machine, so step times can't be compared",
    }
    runs = [run for arm in arms.values() for run in arm]
    found = []
    for keys, sentence in said.items():
        values = {key: list(dict.fromkeys(run.env.get(key, "not recorded") for run in runs)) for key in keys}
        if fields := {key: distinct for key, distinct in values.items() if len(distinct) > 1}:
            found.append(f"{sentence}: {name_fields(fields)}.")
    return found


def _length(arms: Arms, methods: dict[str, MethodNumbers]) -> list[str]:
    missing = [run.name for arm in arms.values() for run in arm if run.length is None]
    if len(missing) == sum(map(len, arms.values())):
        return []
    found = [f"No length evaluation in {', '.join(missing)}."] if missing else []
    if len({m["length_documents"] for m in methods.values() if m["length"]}) > 1:
        found.append("The length evaluations did not read the same number of documents.")
    return found
