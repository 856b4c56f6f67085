"""The gap between two arms over the steps, and where it changes sign.

Paired by seed (weights and batches), so that what a seed does to both arms cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from ngptlab.analysis import series, stats
from ngptlab.analysis.records import RunRecord, Seeds
from ngptlab.errors import ConfigError


class Crossover(TypedDict):
    """Where a gap changes sign, interpolated linearly between two validations."""

    step: float
    tokens: float


@dataclass(frozen=True, kw_only=True)
class Track:
    """One arm's validation loss minus the other's, step by step."""

    pairs: list[Seeds]
    """Seeds that both arms have; where there are none, the gap is mean minus mean."""
    count: int
    """Seeds behind a standard error: the pairs, or the smaller arm."""
    steps: list[int]
    gap_nats: list[float]
    stderr: list[float] | None
    """Standard error over the seeds. None under two: that of the shared validation set isn't the gap's."""
    final_pairs: list[float]
    """The gap at the last of `steps`, seed by seed; empty where there are no pairs."""
    final_losses: tuple[float, float]
    """Mean loss at the last of `steps` of the arm and of the base, over the seeds of the gap."""


def track(arm: Sequence[RunRecord], base: Sequence[RunRecord]) -> Track:
    """`arm` minus `base`.

    Raises:
        ConfigError: no validation at a common step.
    """
    ours = {run.seeds: {row.step: row.loss_nats for row in run.val} for run in arm}
    theirs = {run.seeds: {row.step: row.loss_nats for row in run.val} for run in base}
    pairs = sorted(ours.keys() & theirs.keys())
    if pairs:
        ours, theirs = {s: ours[s] for s in pairs}, {s: theirs[s] for s in pairs}
    steps = series.common_steps([*ours.values(), *theirs.values()])
    if not steps:
        names = f"{arm[0].name} and {base[0].name}"
        raise ConfigError(f"{names}: no validation at a common step, so no gap; report them apart")
    at_step = [_paired(ours, theirs, step) if pairs else _unpaired(ours, theirs, step) for step in steps]
    errors = [error for _, error in at_step if error is not None]
    return Track(
        pairs=pairs,
        count=min(len(ours), len(theirs)),
        steps=steps,
        gap_nats=[gap for gap, _ in at_step],
        stderr=errors or None,
        final_pairs=[ours[seeds][steps[-1]] - theirs[seeds][steps[-1]] for seeds in pairs],
        final_losses=(_mean_at(ours, steps[-1]), _mean_at(theirs, steps[-1])),
    )


Losses = dict[Seeds, dict[int, float]]


def _mean_at(arm: Losses, step: int) -> float:
    return stats.mean([losses[step] for losses in arm.values()])


def _paired(ours: Losses, theirs: Losses, step: int) -> tuple[float, float | None]:
    differences = [ours[seeds][step] - theirs[seeds][step] for seeds in ours]
    return stats.mean(differences), stats.stderr(differences)


def _unpaired(ours: Losses, theirs: Losses, step: int) -> tuple[float, float | None]:
    left, right = ([losses[step] for losses in arm.values()] for arm in (ours, theirs))
    a, b = stats.stderr(left), stats.stderr(right)
    gap = stats.mean(left) - stats.mean(right)
    return gap, None if a is None or b is None else math.hypot(a, b)


def crossovers(steps: Sequence[int], gaps: Sequence[float], step_tokens: int) -> list[Crossover]:
    """Every step at which the gap changes sign, by linear interpolation; step 0 is left out.

    The untrained models' difference says nothing about training, hence step 0. A gap of exactly zero counts
    where the sign differs on its two sides, and then at the first such step; touching zero is no change.
    """
    points = [(step, gap) for step, gap in zip(steps, gaps, strict=True) if step > 0]
    found: list[Crossover] = []
    last: tuple[int, float] | None = None
    zero: int | None = None
    for step, gap in points:
        if gap == 0.0:
            zero = step if zero is None else zero
            continue
        if last is not None and (gap > 0) != (last[1] > 0):
            at = float(zero) if zero is not None else last[0] + (step - last[0]) * last[1] / (last[1] - gap)
            found.append({"step": at, "tokens": at * step_tokens})
        last, zero = (step, gap), None
    return found
