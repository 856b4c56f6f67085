"""What the figures draw, each on axes that it is given: on the page, and in the files beside it.

A figure holds no user's text: names stand in the legend, which the page and the files write each in their way.
Figures are small on purpose, so that their text can be read when the page is 400 pixels wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ngptlab.analysis.costs import Measure
from ngptlab.analysis.figures import INK, SERIES
from ngptlab.report import views
from ngptlab.report.schema import Gap, LengthPoint, MethodNumbers, Summary, TrainPoint, ValPoint
from ngptlab.report.views import View

DASHES = ("none", "6 2", "2 2", "6 2 2 2")
"""Stroke patterns in points. Seven colours and four patterns: 28 methods before a pair repeats."""

EARLY_SHARE = 0.1
"""Share of the run that may leave the frame of a linear axis: early losses are so high that the end could not be read."""


def series_style(index: int) -> dict[str, str]:
    """CSS of the `index`-th method's line: its colour and its stroke pattern."""
    return {"color": f"var(--series-{index % len(SERIES)})", "dash": DASHES[index % len(DASHES)]}


def handle(index: int) -> Line2D:
    """The `index`-th method's line for a legend."""
    return Line2D([], [], color=SERIES[index % len(SERIES)], linestyle=_pattern(index))


def losses(axes: Axes, summary: Summary, view: View, *, from_step: int = 0) -> None:
    """Validation loss from a step on."""
    ends, shown = [], []
    for index, method in enumerate(summary["methods"].values()):
        points = list(_since(method["val"], from_step, view))
        xs, means, errors = (
            _xs(points, view.measure),
            [p["loss_nats"] for p in points],
            [p["stderr"] for p in points],
        )
        _line(axes, index, xs, means, errors)
        ends += _extent(xs, view, _cost_at(method, from_step, view.measure))
        late = [p for p in points if p["step"] >= max(from_step, _early(summary, view))]
        shown += [p["loss_nats"] + sign * p["stderr"] for p in late for sign in (-1, 1)]
    _frame(axes, shown)
    _training_axis(axes, summary, view, ends)
    axes.set_ylabel("validation loss (nats per token)")


def end_step(summary: Summary) -> int:
    """Where the end of a run begins: shortly before the cooldown."""
    steps, start = summary["schedule"]["steps"], summary["schedule"]["cooldown_start_step"]
    return int(0.6 * steps) if start is None else max(0, int(start - 0.15 * (steps - start)))


def gaps(axes: Axes, summary: Summary, view: View) -> None:
    """Each method's validation loss minus the baseline's at equal cost, with every change of sign."""
    order, ends, shown = list(summary["methods"]), [], [0.0]
    for other, gap in summary["gaps"].items():
        xs, values, errors, crossings = gap_curve(gap, view.measure)
        _line(axes, order.index(other), xs, values, errors)
        ends += _extent(xs, view)
        early = 0.0 if view.log or not xs else EARLY_SHARE * xs[-1]
        late = [i for i, x in enumerate(xs) if x >= early]
        shown += [values[i] + sign * errors[i] for i in late for sign in (-1, 1)]
        axes.plot(crossings, [0] * len(crossings), "o", ms=6, mfc="none", mec=INK, mew=1.2, zorder=4)
    axes.axhline(0, color=INK, linewidth=1.0)
    _frame(axes, shown)
    _training_axis(axes, summary, view, ends)
    axes.set_ylabel("loss minus baseline (nats)")


def gap_curve(gap: Gap, measure: Measure) -> tuple[list[float], list[float], list[float], list[float]]:
    """Costs, gaps, standard errors and changes of sign. Untrained models have no gap, so step 0 is left out."""
    if measure != "step":
        curve = gap["at_equal"].get(measure)
        if curve is None:
            return [], [], [], []
        return curve["x"], curve["gap_nats"], curve["stderr"] or [0.0] * len(curve["x"]), curve["crossovers"]
    first = next((i for i, step in enumerate(gap["steps"]) if step > 0), 0)
    errors = (gap["stderr"] or [0.0] * len(gap["steps"]))[first:]
    crossings = [crossing["step"] for crossing in gap["crossovers"]]
    return [float(step) for step in gap["steps"][first:]], gap["gap_nats"][first:], errors, crossings


def training(axes: Axes, summary: Summary, view: View) -> None:
    """Training loss, averaged over blocks of steps."""
    ends, shown = [], []
    for index, method in enumerate(summary["methods"].values()):
        xs, means = _xs(method["train"], view.measure), [point["loss_nats"] for point in method["train"]]
        _line(axes, index, xs, means, None)
        ends += _extent(xs, view)
        shown += [p["loss_nats"] for p in method["train"] if p["step"] >= _early(summary, view)]
    _frame(axes, shown)
    _training_axis(axes, summary, view, ends)
    axes.set_ylabel("training loss (nats per token)")


def lengths(axes: Axes, summary: Summary) -> None:
    """Loss by position in long documents, each bin at the middle of its positions on the logarithmic axis."""
    context = summary["schedule"]["context"]
    ends = {context}
    for index, method in enumerate(summary["methods"].values()):
        bins = method["length"]
        means = [point["loss_nats"] for point in bins]
        errors = [point["stderr_nats"] or 0.0 for point in bins]
        _line(axes, index, [_middle(point) for point in bins], means, errors, marker="o")
        ends |= {point["to"] for point in bins}
    axes.set_xscale("log", base=2)
    low, high = math.log2(min(ends)), math.log2(max(ends))
    powers = range(math.floor(low), math.ceil(high) + 1, max(1, round((high - low) / 6)))
    axes.xaxis.set_major_locator(FixedLocator([2.0**power for power in powers]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    _mark(axes, context, "training context")
    axes.set_xlabel("position in the document (tokens)")
    axes.set_ylabel("loss (nats per token)")


def _early(summary: Summary, view: View) -> float:
    """Steps that may leave the frame: on a logarithmic axis, none but the untrained model's."""
    return 1 if view.log else EARLY_SHARE * summary["schedule"]["steps"]


def _since(points: Sequence[ValPoint], from_step: int, view: View) -> Iterator[ValPoint]:
    """The points from `from_step` on, and the one before, so that the line enters the frame; log x has no zero."""
    for before, point in pairwise([None, *points, None]):
        if before is None or (view.log and before["step"] == 0):
            continue
        if before["step"] >= from_step or (point and point["step"] > from_step):
            yield before


def _xs(points: Sequence[ValPoint] | Sequence[TrainPoint], measure: Measure) -> list[float]:
    return [float(point[measure] or 0.0) for point in points]


def _extent(xs: Sequence[float], view: View, start: float = 0.0) -> list[tuple[float, float]]:
    """First and last place of a curve: from `start` on, or on a logarithmic axis from its first point; of none, none."""
    return [(xs[0] if view.log else start, xs[-1])] if xs else []


def _cost_at(method: MethodNumbers, step: int, measure: Measure) -> float:
    """What a method has cost after a step, in proportion between its validations."""
    for before, after in pairwise(method["val"]):
        if before["step"] <= step <= after["step"]:
            share = (step - before["step"]) / (after["step"] - before["step"])
            low, high = _xs([before, after], measure)
            return low + share * (high - low)
    return 0.0


def _line(
    axes: Axes,
    index: int,
    x: Sequence[float],
    y: Sequence[float],
    errors: Sequence[float] | None,
    marker: str = "",
) -> None:
    """A method's curve, with a band of one standard error."""
    colour = SERIES[index % len(SERIES)]
    if len(x) == 1:
        marker = "o"
    axes.plot(x, y, color=colour, linestyle=_pattern(index), marker=marker, markersize=3.5, zorder=3)
    if errors is not None:
        low, high = ([v + s * e for v, e in zip(y, errors, strict=True)] for s in (-1, 1))
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0, zorder=2)


def _pattern(index: int) -> Literal["solid"] | tuple[int, tuple[float, ...]]:
    dash = DASHES[index % len(DASHES)]
    return "solid" if dash == "none" else (0, tuple(float(part) for part in dash.split()))


def _frame(axes: Axes, values: Sequence[float]) -> None:
    """Fit the y axis to these values, with room above and below."""
    axes.yaxis.set_major_locator(MaxNLocator(6))
    if values:
        low, high = min(values), max(values)
        room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
        axes.set_ylim(low - room, high + room)


def _training_axis(axes: Axes, summary: Summary, view: View, ends: Sequence[tuple[float, float]]) -> None:
    """The x axis over the methods' first and last costs; where they cool down at different ones, each has its mark."""
    low, high = min((a for a, _ in ends), default=0.0), max((b for _, b in ends), default=0.0) or 1.0
    views.frame(axes, view, low, high)
    starts = [
        (float(start[view.measure] or 0.0), index)
        for index, method in enumerate(summary["methods"].values())
        if (start := method["cooldown_start"])
    ]
    apart = len(starts) > 1 and max(starts)[0] - min(starts)[0] > 0.005 * (high - low)
    if not apart and starts:
        _mark(axes, starts[0][0], "cooldown")
    for x, index in starts if apart else ():
        _mark(axes, x, "cooldown" if x == max(starts)[0] else "", SERIES[index % len(SERIES)])


def _mark(axes: Axes, x: float, text: str, colour: str = INK) -> None:
    """A vertical line with its name at the top."""
    axes.axvline(x, color=colour, linewidth=0.9, linestyle=(0, (1, 2)))
    if text:
        axes.annotate(
            text,
            (x, 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, -1),
            textcoords="offset points",
            va="top",
            fontsize=9,
        )


def _middle(point: LengthPoint) -> float:
    """Geometric middle of a bin; a bin from 0 counts as the upper half of its positions."""
    return math.sqrt(max(point["from"], point["to"] / 2) * point["to"])
