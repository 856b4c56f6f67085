"""The sentence that says whether a learning rate carries over width, from the numbers alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ngptlab.stats.curve import Cost, Curve, Shift, Worse
from ngptlab.stats.estimates import ci95
from ngptlab.stats.learning_rate import show_rate

NEGLIGIBLE = 0.25
"""A shift up to this, in powers of two per doubling, counts as none: over three doublings it is below one step of a grid."""


def verdict(
    method: str,
    param: str,
    curves: Sequence[Curve],
    shift: Shift | None,
    cost: Cost | None,
    worse: Sequence[Worse] = (),
) -> str:
    """A sentence on the shift, one on the cost and one for each width that is worse, then what makes them doubtful."""
    if shift is None:
        parts = [f"{method} under {param}: no shift, since fewer than two widths have an optimum."]
    else:
        parts = [
            f"{method} under {param}, widths {curves[0].width} to {curves[-1].width}: {judge(curves, shift)}; "
            f"the optimum moves by {_with_error(shift.slope, shift.stderr, '+z.2f')} powers of two per doubling of width"
            f"{'' if shift.stderr is None else ' (± one standard error of the line through the widths)'}."
        ]
    if cost is not None:
        parts.append(_cost_sentence(curves, cost))
    parts += [
        f"At that rate width {each.width} "
        + (
            "diverges."
            if math.isinf(each.nats)
            else f"is worse than width {each.than}, by {each.nats:.4f} nats."
        )
        for each in worse
    ]
    return " ".join(parts + _doubts(curves))


def judge(curves: Sequence[Curve], shift: Shift) -> str:
    """Whether the best learning rate carries over, as a part of a sentence."""
    if any(curve.optimum is None or curve.optimum.on_edge for curve in curves):
        return "undecided, because not every width has its optimum inside the grid"
    if shift.stderr is None:
        return "undecided, because two widths give no error of the shift"
    if abs(shift.slope) - 2 * shift.stderr > 0 and abs(shift.slope) > NEGLIGIBLE:
        return "the best learning rate does not carry over"
    if abs(shift.slope) + 2 * shift.stderr <= NEGLIGIBLE:
        return "the best learning rate carries over"
    return "undecided, because the error of the shift is too large"


def _cost_sentence(curves: Sequence[Curve], cost: Cost) -> str:
    what = f"The best rate of width {curves[0].width} ({show_rate(cost.lr)})"
    if math.isinf(cost.nats):
        return f"{what} diverges at width {curves[-1].width}."
    seeds = len(curves[-1].losses)
    lost = _with_error(cost.nats, ci95(cost.stderr, seeds), ".4f")
    error = "" if cost.stderr is None else f" (± 95% over {seeds} pairs of seeds, Student's t)"
    return f"{what} costs {lost} nats{error} at width {curves[-1].width} against that width's own best."


def _doubts(curves: Sequence[Curve]) -> list[str]:
    doubts = []
    for curve in curves:
        if curve.optimum is None:
            doubts.append(f"Width {curve.width} has no finite loss.")
        elif curve.optimum.on_edge:
            side = "lowest" if curve.optimum.best == 0 else "highest"
            doubts.append(f"At width {curve.width} the {side} rate is best: extend the grid for every width.")
    diverged = sum(curve.diverged for curve in curves)
    if diverged:
        doubts.append(f"Runs that diverged: {diverged}, counted as worse than all others.")
    left_out = [f"{show_rate(lr)} at width {curve.width}" for curve in curves for lr in curve.left_out]
    if left_out:
        doubts.append(f"Rates left out because a run did not finish: {', '.join(left_out)}.")
    if max((len(curve.losses) for curve in curves), default=0) < 2:
        doubts.append("One seed: no claim.")
    return doubts


def _with_error(value: float, error: float | None, form: str) -> str:
    return f"{value:{form}}" if error is None else f"{value:{form}} ± {error:{form.lstrip('+')}}"
