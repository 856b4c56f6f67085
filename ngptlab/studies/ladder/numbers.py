"""A ladder between two methods in numbers: the loss of each rung and the change by each step, paired by seed.

A rung without a `reason` has finished runs, and all its numbers are read from their directories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NotRequired

from typing_extensions import TypedDict

from ngptlab.stats import doubts, gaps, series
from ngptlab.stats import estimates as stats
from ngptlab.stats.doubts import Doubt, Searched
from ngptlab.stats.records import RunRecord, load_runs, steady_seconds

Mode = Literal["cumulative", "leave-one-out"]


def half(rung: RungNumbers) -> float | None:
    """Half-width of the 95% interval of a rung's loss by Student's t over its seeds; None for one seed."""
    return stats.ci95(rung["final_loss_stderr"], len(rung["seeds"])) if len(rung["seeds"]) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A planned rung with its runs."""

    label: str
    arm: str
    """Name of its method, with the seams that come from the other method."""
    seams: tuple[str, ...]
    lr: float
    lr_of: str
    """The method whose learning rate it has; '' where the user set the learning rate."""
    reason: str
    """Why the rung has no result; '' where it has one."""
    runs: tuple[Path, ...]
    """Finished runs, one for each seed."""


class Step(TypedDict):
    """The change by one step, a difference of final losses. Below zero, the rung is better than `against`."""

    against: str
    """Label of the rung it is compared with: the last one before it with a result; in leave-one-out, the first."""
    nats: float
    stderr: float | None
    """Standard error over the pairs of seeds; None under two."""
    ci95: float | None
    pairs: int
    by_pair: NotRequired[list[float]]
    """Difference of each pair of runs with one seed. Older files lack it."""


class RungNumbers(TypedDict):
    """One rung as `ladder.json` has it. Numbers are None where there is a `reason`."""

    label: str
    arm: str
    seams: list[str]
    lr: float
    lr_of: str
    tuned: bool
    """Whether it has the settings that a linked search found best, by the rule of `stats.search`."""
    reason: str
    runs: list[str]
    seeds: list[int]
    final_loss_nats: float | None
    losses: NotRequired[list[float]]
    """Final losses, in the order of the seeds. Older files lack them."""
    final_loss_stderr: float | None
    stderr_over: str
    """What the standard error is over: `seeds`, or `validation` for one seed; '' where there is no result."""
    step_seconds_median: float | None
    """Median seconds of the steady steps of all seeds."""
    params: int | None
    adds: Step | None


class Ladder(Searched):
    """The content of `ladder.json`."""

    recipe: str
    base: str
    target: str
    mode: str
    tokens: int | None
    """Tokens of each run; None where no run has a result."""
    context: int | None
    data: str
    rungs: list[RungNumbers]


def measure(rungs: Sequence[Rung], *, recipe: str, base: str, target: str, mode: Mode) -> Ladder:
    """The numbers of a ladder.

    Raises:
        ConfigError: a run isn't finished, or two rungs share no validation step.
        DataError: a run is damaged.
    """
    arms = {rung.label: load_runs(rung.runs) if rung.runs and not rung.reason else [] for rung in rungs}
    numbers: list[RungNumbers] = []
    reference = ""
    for rung in rungs:
        numbers.append(_rung(rung, arms, reference))
        if arms[rung.label] and (mode == "cumulative" or rung is rungs[0]):
            reference = rung.label
    config = next((arm[0].config for arm in arms.values() if arm), None)
    found = _doubts(rungs, mode, numbers, {label: arm for label, arm in arms.items() if arm})
    return {
        "recipe": recipe,
        "base": base,
        "target": target,
        "mode": mode,
        "tokens": config.train.tokens if config else None,
        "context": config.train.context if config else None,
        "data": config.data.source if config else "",
        "rungs": numbers,
        "searches": {label: arm[0].config.optim.search for label, arm in arms.items() if arm},
        "warnings": doubts.texts(found, rungs[0].label),
        "doubts": [doubt.plain() for doubt in found],
    }


def _rung(rung: Rung, arms: dict[str, list[RunRecord]], reference: str) -> RungNumbers:
    arm = arms[rung.label]
    last = [run.val[-1] for run in arm]
    over_seeds = stats.stderr([row.loss_nats for row in last])
    return {
        "label": rung.label,
        "arm": rung.arm,
        "seams": list(rung.seams),
        "lr": rung.lr,
        "lr_of": rung.lr_of,
        "tuned": bool(arm) and doubts.tuning_note(arm) is None,
        "reason": rung.reason,
        "runs": [path.name for path in rung.runs],
        "seeds": [run.config.seed for run in arm],
        "final_loss_nats": stats.mean([row.loss_nats for row in last]) if last else None,
        "losses": [row.loss_nats for row in last],
        "final_loss_stderr": (last[0].stderr_nats if over_seeds is None else over_seeds) if last else None,
        "stderr_over": ("validation" if over_seeds is None else "seeds") if last else "",
        "step_seconds_median": series.median_iqr(steady_seconds(arm))[0],
        "params": arm[0].params if arm else None,
        "adds": _adds(arm, arms[reference], reference) if arm and reference else None,
    }


def _adds(arm: Sequence[RunRecord], before: Sequence[RunRecord], against: str) -> Step:
    """The gap at the end, paired over the seeds that both have, so that what a seed does to both cancels."""
    gap = gaps.track(arm, before)
    error = gap.stderr[-1] if gap.stderr else None
    return {
        "against": against,
        "nats": gap.gap_nats[-1],
        "stderr": error,
        "ci95": stats.ci95(error, gap.count),
        "pairs": len(gap.pairs),
        "by_pair": [single[-1] for single in gap.by_seed],
    }


def _doubts(
    rungs: Sequence[Rung], mode: Mode, numbers: Sequence[RungNumbers], arms: dict[str, list[RunRecord]]
) -> list[Doubt]:
    """Every doubt about this ladder, the gravest first."""
    return [
        *_absent(rungs),
        *doubts.learned_nothing(arms),
        *_tuning(rungs, mode, arms),
        *_seeds(numbers),
        *doubts.provenance(arms),
    ]


def _absent(rungs: Sequence[Rung]) -> list[Doubt]:
    return [
        Doubt(kind="missing", arms=(rung.label,), text=f"No result for {rung.label}: {rung.reason}.")
        for rung in rungs
        if rung.reason
    ]


def _tuning(rungs: Sequence[Rung], mode: Mode, arms: doubts.Arms) -> list[Doubt]:
    """Doubts about learning rates. A rung is doubted by its linked search; rungs without one share a sentence."""
    shown = [rung for rung in rungs if not rung.reason]
    linked = {label: arm for label, arm in arms.items() if arm[0].config.optim.search}
    found = doubts.tuning(linked)
    if untuned := [rung.label for rung in shown if rung.label not in linked]:
        text = (
            f"Learning rate carried over or set, not tuned, for {', '.join(untuned)}: "
            "what such a rung loses may be its learning rate's fault."
        )
        found.append(Doubt(kind="carried over", arms=tuple(untuned), text=text))
    moves = {
        rung.label: f"{rung.label} ({before.lr:.4g} to {rung.lr:.4g})"
        for before, rung in _compared(shown, mode)
        if before.lr != rung.lr
    }
    if moves:
        text = f"The learning rate changes along with the seams at {', '.join(moves.values())}."
        found.append(Doubt(kind="carried over", arms=tuple(moves), text=text))
    return found


def _compared(shown: Sequence[Rung], mode: Mode) -> Iterable[tuple[Rung, Rung]]:
    """Pairs (reference rung, rung) that are compared."""
    return pairwise(shown) if mode == "cumulative" else ((shown[0], rung) for rung in shown[1:])


def _seeds(numbers: Sequence[RungNumbers]) -> list[Doubt]:
    fewest = min((len(rung["seeds"]) for rung in numbers if rung["seeds"]), default=0)
    if fewest == 1:
        text = (
            "One seed: the errors shown are those of the validation set, and nothing says how much another seed "
            "would move a step."
        )
        return [Doubt(kind="seeds", text=text)]
    return [Doubt(kind="seeds", text="Two seeds: a claim needs three at least.")] if fewest == 2 else []
