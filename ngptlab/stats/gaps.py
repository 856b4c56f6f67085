"""The gap between two arms over the steps, and where it changes sign.

Gaps are paired by seed (weights and batches), so that the effect of a seed on both arms cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import TypedDict

from ngptlab.errors import ConfigError
from ngptlab.stats import estimates as stats
from ngptlab.stats import series
from ngptlab.stats.costs import Measure, Meter
from ngptlab.stats.records import RunRecord, Seeds


class Crossover(TypedDict):
    """Where a gap changes sign, interpolated linearly between two validations."""

    step: float
    tokens: float
    """Tokens that the arm whose gap it is has met by then."""


class GapCurve(TypedDict):
    """One arm's validation loss minus the other's, where both have cost the same.

    The other's loss is read on the straight lines between its validations, and never beyond them.
    """

    x: list[float]
    gap_nats: list[float]
    stderr: list[float] | None
    """Standard error over the seeds; None under two."""
    ci95: list[float] | None
    """Half-width of the 95% interval over the seeds by Student's t; None under two."""
    by_seed: list[list[float]]
    """The gap of each pair of seeds at each of `x`; empty where no seeds are shared."""
    crossovers: list[float]
    """Where the gap changes sign."""


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
    """Standard error over the seeds; None under two, because the error over the validation set isn't the gap's."""
    ci95: list[float] | None
    """Half-width of the 95% interval by Student's t for `count` seeds; None under two."""
    by_seed: list[list[float]]
    """The gap of each of `pairs` at each of `steps`."""
    final_pairs: tuple[list[float], list[float]]
    """Final losses of the arm and of the base, at the last of `steps`, in the order of `pairs`."""
    final_losses: tuple[float, float]
    """Mean final losses of the arm and of the base, at the last of `steps`, over the seeds of the gap."""


def track(arm: Sequence[RunRecord], base: Sequence[RunRecord]) -> Track:
    """The gap `arm` minus `base`.

    Raises:
        ConfigError: no validation at a common step.
    """
    ours, theirs = _losses(arm), _losses(base)
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
        ci95=_halves(errors, min(len(ours), len(theirs))),
        by_seed=[[ours[seeds][step] - theirs[seeds][step] for step in steps] for seeds in pairs],
        final_pairs=([ours[s][steps[-1]] for s in pairs], [theirs[s][steps[-1]] for s in pairs]),
        final_losses=(_mean_at(ours, steps[-1]), _mean_at(theirs, steps[-1])),
    )


Losses = dict[Seeds, dict[int, float]]


def _losses(arm: Sequence[RunRecord]) -> Losses:
    return {run.seeds: {row.step: row.loss_nats for row in run.val} for run in arm}


def _halves(errors: Sequence[float], count: int) -> list[float] | None:
    """Half-widths of the 95% intervals from standard errors over so many seeds; None where there are no errors."""
    halves = (stats.ci95(error, count) for error in errors)
    return [half for half in halves if half is not None] or None


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


def at_equal(arm: Sequence[RunRecord], base: Sequence[RunRecord], measure: Measure) -> GapCurve | None:
    """The gap `arm` minus `base` at equal tokens, operations or seconds, at each of `arm`'s validations after step 0.

    None where a cost is not recorded, or where no validation of `arm` lies within `base`'s.
    """
    ours, theirs = _losses(arm), _losses(base)
    pairs = ours.keys() & theirs.keys()
    if pairs:
        ours, theirs = ({s: losses[s] for s in sorted(pairs)} for losses in (ours, theirs))
    xs, base_xs = _costs(arm, ours, measure), _costs(base, theirs, measure)
    inside = {x: step for x, step in xs.items() if base_xs and min(base_xs) <= x <= max(base_xs)}
    if not inside:
        return None
    read = {seeds: _interpolated(base_xs, losses, inside) for seeds, losses in theirs.items()}
    at = [_paired(ours, read, step) if pairs else _unpaired(ours, read, step) for step in inside.values()]
    errors = [error for _, error in at if error is not None]
    values = [gap for gap, _ in at]
    return {
        "x": list(inside),
        "gap_nats": values,
        "stderr": errors or None,
        "ci95": _halves(errors, min(len(ours), len(read))),
        "by_seed": [[ours[s][step] - read[s][step] for step in inside.values()] for s in sorted(pairs)],
        "crossovers": sign_changes(list(inside), values),
    }


def _costs(arm: Sequence[RunRecord], losses: Losses, measure: Measure) -> dict[float, int]:
    """{cost: step} of the validations after step 0 that all of these seeds have; empty where the cost is not recorded."""
    meter = Meter([run for run in arm if run.seeds in losses])
    costs = {meter.at(step)[measure]: step for step in series.common_steps(losses.values()) if step > 0}
    return {float(cost): step for cost, step in costs.items() if cost is not None}


def _interpolated(xs: dict[float, int], losses: dict[int, float], at: dict[float, int]) -> dict[int, float]:
    """Losses at other costs, on the straight lines between those at `xs`."""
    read = np.interp(list(at), list(xs), [losses[step] for step in xs.values()])
    return dict(zip(at.values(), read.tolist(), strict=True))


def crossovers(
    steps: Sequence[int], gaps: Sequence[float], tokens: Callable[[float], float]
) -> list[Crossover]:
    """Every step at which the gap changes sign, by linear interpolation; step 0 is left out. `tokens`: those met by a step.

    Step 0 is left out because the difference of untrained models says nothing about training. A gap of exactly zero counts
    where the sign differs on its two sides, and then at the first such step; touching zero is no change.
    """
    return [{"step": at, "tokens": tokens(at)} for at in sign_changes(steps, gaps)]


def sign_changes(xs: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Where the gap changes sign, by the rule of `crossovers`, in the units of `xs`."""
    found: list[float] = []
    last: tuple[float, float] | None = None
    zero: float | None = None
    for x, gap in ((x, gap) for x, gap in zip(xs, gaps, strict=True) if x > 0):
        if gap == 0.0:
            zero = x if zero is None else zero
            continue
        if last is not None and (gap > 0) != (last[1] > 0):
            at = zero if zero is not None else last[0] + (x - last[0]) * last[1] / (last[1] - gap)
            found.append(float(at))
        last, zero = (x, gap), None
    return found
