"""The drawing of each figure, on given axes, for the page and for the files beside it.

A figure holds no user's text. Names are in the legend, which the page and the files write in ways of their own. Figures are
small, so that their text can be read when the page is 400 pixels wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from ngptlab.draw.panels import Axes, ticks
from ngptlab.draw.style import INK, SERIES
from ngptlab.report import views
from ngptlab.report.schema import Gap, LengthPoint, MethodNumbers, Summary, TrainPoint, ValPoint
from ngptlab.report.views import View
from ngptlab.stats.costs import Measure

DASHES = ("none", "6 2", "2 2", "6 2 2 2")
"""Stroke patterns in points. Seven colours with four patterns tell 28 methods apart."""

THIN = 0.7
"""Width of a single seed's line, in points."""

EARLY_SHARE = 0.1
"""Fraction of the run that may leave the frame of a linear axis, because its high losses would flatten the end."""

FEW = 8
"""With fewer validations than this, each has a mark and none leaves the frame, because a line through a handful of points says
nothing of what lies between them."""


def series_style(index: int) -> dict[str, str]:
    """CSS of the `index`-th method's line: its colour and its stroke pattern."""
    return {"color": f"var(--series-{index % len(SERIES)})", "dash": DASHES[index % len(DASHES)]}


def losses(axes: Axes, summary: Summary, view: View, *, from_step: int = 0) -> list[Curve]:
    """Draw the validation loss from a step on."""
    ends, shown, drawn = [], [], []
    for index, method in enumerate(summary["methods"].values()):
        points = list(_points_from(method["val"], from_step, view))
        xs = _xs(points, view.measure)
        over = _over_seeds(
            [p["loss_nats"] for p in points], [p["ci95"] for p in points], [p["by_seed"] for p in points]
        )
        drawn.append(_line(axes, index, xs, over, marker="o" if len(points) < FEW else ""))
        ends += _extent(xs, view, _cost_at(method, from_step, view.measure))
        first = max(from_step, 0 if few(summary) else _first_steps(summary, view))
        shown.append(over.part([i for i, p in enumerate(points) if p["step"] >= first]))
    _frame(axes, shown)
    _training_axis(axes, summary, view, ends)
    axes.set_ylabel("validation loss (nats per token)")
    return drawn


def end_step(summary: Summary) -> int:
    """The step at which the end of a run begins, shortly before the cooldown."""
    steps, start = summary["schedule"]["steps"], summary["schedule"]["cooldown_start_step"]
    return int(0.6 * steps) if start is None else max(0, int(start - 0.15 * (steps - start)))


def gaps(axes: Axes, summary: Summary, view: View) -> list[Curve]:
    """Draw each method's validation loss minus the baseline's at equal cost, with every change of sign."""
    order, ends, shown, drawn = list(summary["methods"]), [], [OverSeeds([0.0], None, [])], []
    for other, gap in summary["gaps"].items():
        xs, over, crossings = gap_curve(gap, view.measure)
        drawn.append(_line(axes, order.index(other), xs, over, marker="o" if len(xs) < FEW else ""))
        ends += _extent(xs, view)
        early = 0.0 if view.log or not xs or few(summary) else EARLY_SHARE * xs[-1]
        shown.append(over.part([i for i, x in enumerate(xs) if x >= early]))
        axes.plot(crossings, [0] * len(crossings), "o", ms=6, mfc="none", mec=INK, mew=1.2, zorder=4)
    axes.axhline(0, color=INK, linewidth=1.0)
    _frame(axes, shown)
    _training_axis(axes, summary, view, ends)
    axes.set_ylabel("loss minus baseline (nats)")
    return drawn


def gap_curve(gap: Gap, measure: Measure) -> tuple[list[float], OverSeeds, list[float]]:
    """Costs, gaps over the seeds, and changes of sign. Untrained models have no gap, so step 0 is left out."""
    if measure != "step":
        curve = gap["at_equal"].get(measure)
        if curve is None:
            return [], OverSeeds([], None, []), []
        return curve["x"], OverSeeds(curve["gap_nats"], curve["ci95"], curve["by_seed"]), curve["crossovers"]
    late = [i for i, step in enumerate(gap["steps"]) if step > 0] or list(range(len(gap["steps"])))
    crossings = [crossing["step"] for crossing in gap["crossovers"]]
    over = OverSeeds(gap["gap_nats"], gap["ci95"], gap["by_seed"]).part(late)
    return [float(gap["steps"][i]) for i in late], over, crossings


def few(summary: Summary) -> bool:
    """Whether every method has so few validations that all of them are shown."""
    return all(len(method["val"]) < FEW for method in summary["methods"].values())


class Recorded(NamedTuple):
    """A quantity of training: its name on the axis, its mean, and its value for each seed."""

    label: str
    mean: Literal["loss_nats", "lr", "grad_norm"]
    by_seed: Literal["by_seed", "grad_norm_by_seed"] | None
    whole: bool = False
    """Whether the first steps stay in the frame."""


LOSS = Recorded("training loss (nats per token)", "loss_nats", "by_seed")
RATE = Recorded("learning rate", "lr", None, whole=True)
NORM = Recorded("gradient norm", "grad_norm", "grad_norm_by_seed")


def training(axes: Axes, summary: Summary, view: View, what: Recorded = LOSS) -> list[Curve]:
    """Draw the training loss, or another quantity of training, at the ends of blocks of steps."""
    ends, shown, drawn = [], [], []
    for index, method in enumerate(summary["methods"].values()):
        points = recorded(method, what)
        xs = _xs(points, view.measure)
        singles: list[list[float]] = [point[what.by_seed] if what.by_seed else [] for point in points]
        over = _over_seeds([point[what.mean] or 0.0 for point in points], [None] * len(points), singles)
        drawn.append(_line(axes, index, xs, over))
        ends += _extent(xs, view)
        first = 0 if what.whole else _first_steps(summary, view)
        shown.append(over.part([i for i, p in enumerate(points) if p["step"] >= first]))
    _frame(axes, shown)
    _training_axis(axes, summary, view, ends)
    axes.set_ylabel(what.label)
    return drawn


def recorded(method: MethodNumbers, what: Recorded) -> list[TrainPoint]:
    """The points at which the quantity was recorded."""
    return [point for point in method["train"] if point.get(what.mean) is not None]


def lengths(axes: Axes, summary: Summary) -> list[Curve]:
    """Draw the loss by position in long documents, each bin at the middle of its positions on the logarithmic axis."""
    context = summary["schedule"]["context"]
    ends, drawn = {context}, []
    for index, method in enumerate(summary["methods"].values()):
        bins = method["length"]
        over = _over_seeds(
            [p["loss_nats"] for p in bins], [p["ci95_nats"] for p in bins], [p["by_seed"] for p in bins]
        )
        drawn.append(_line(axes, index, [_middle(point) for point in bins], over, marker="o"))
        ends |= {point["to"] for point in bins}
    axes.set_xscale("log", base=2)
    low, high = math.log2(min(ends)), math.log2(max(ends))
    powers = range(math.floor(low), math.ceil(high) + 1, max(1, round((high - low) / 6)))
    ticks(axes, "x", at=[2.0**power for power in powers], words=lambda x: f"{x:,.0f}")
    ticks(axes, "y", 6)
    _mark(axes, context, "training context")
    axes.set_xlabel("position in the document (tokens)")
    axes.set_ylabel("loss (nats per token)")
    return drawn


def _first_steps(summary: Summary, view: View) -> float:
    """Number of first steps that may leave the frame; on a logarithmic axis, only the untrained model's."""
    return 1 if view.log else EARLY_SHARE * summary["schedule"]["steps"]


def _points_from(points: Sequence[ValPoint], from_step: int, view: View) -> Iterator[ValPoint]:
    """The points from `from_step` on, and the one before, so that the line enters the frame; not step 0 on a log axis."""
    for before, point in pairwise([None, *points, None]):
        if before is None or (view.log and before["step"] == 0):
            continue
        if before["step"] >= from_step or (point and point["step"] > from_step):
            yield before


def _xs(points: Sequence[ValPoint] | Sequence[TrainPoint], measure: Measure) -> list[float]:
    return [float(point[measure] or 0.0) for point in points]


def _extent(xs: Sequence[float], view: View, start: float = 0.0) -> list[tuple[float, float]]:
    """(first, last) x of a curve; the first is `start`, or on a logarithmic axis the first point. Empty without points."""
    return [(xs[0] if view.log else start, xs[-1])] if xs else []


def _cost_at(method: MethodNumbers, step: int, measure: Measure) -> float:
    """A method's cost after a step, interpolated linearly between its validations."""
    for before, after in pairwise(method["val"]):
        if before["step"] <= step <= after["step"]:
            fraction = (step - before["step"]) / (after["step"] - before["step"])
            low, high = _xs([before, after], measure)
            return low + fraction * (high - low)
    return 0.0


class OverSeeds(NamedTuple):
    """A curve over seeds."""

    means: list[float]
    halves: list[float] | None
    """Half-widths of the 95% interval (Student's t); None for one seed."""
    singles: list[list[float]]
    """The curve of each seed; empty for one seed, whose curve is the mean."""

    def part(self, places: Sequence[int]) -> OverSeeds:
        """The curve at some of its places."""
        return OverSeeds(
            [self.means[i] for i in places],
            None if self.halves is None else [self.halves[i] for i in places],
            [[single[i] for i in places] for single in self.singles],
        )

    def edge(self, sign: int) -> list[float]:
        """The lower (-1) or upper (1) edge of the band; the curve itself where there is none."""
        return [m + sign * h for m, h in zip(self.means, self.halves or [0.0] * len(self.means), strict=True)]


def _over_seeds(
    means: list[float], halves: Sequence[float | None], by_seed: Sequence[Sequence[float]]
) -> OverSeeds:
    """The curve over seeds, from points that each have all seeds."""
    known = [half for half in halves if half is not None]
    singles = [list(single) for single in zip(*by_seed, strict=True)]
    return OverSeeds(means, known if known and len(known) == len(means) else None, singles)


class Curve(NamedTuple):
    """What was drawn of a method, for the values beside the pointer."""

    method: int
    """The method's place among the summary's."""
    x: list[float]
    y: list[float]
    halves: list[float] | None
    """Half-widths of the 95% interval; None for one seed."""


def _line(axes: Axes, index: int, x: Sequence[float], over: OverSeeds, marker: str = "") -> Curve:
    """Draw a method's curve, the band of its 95% interval, and a thin line for each seed. One seed has the curve alone."""
    colour = SERIES[index % len(SERIES)]
    if len(x) == 1:
        marker = "o"
    if len(over.singles) > 1:
        thin: dict[str, Any] = {"linewidth": THIN, "alpha": 0.6, "markersize": 1.5, "zorder": 1.5}
        for single in over.singles:
            axes.plot(x, single, color=colour, marker="." if len(x) == 1 else "", **thin)
    axes.plot(x, over.means, color=colour, linestyle=pattern(index), marker=marker, markersize=3.5, zorder=3)
    if over.halves is not None:
        axes.fill_between(x, over.edge(-1), over.edge(1), color=colour, alpha=0.2, linewidth=0, zorder=1)
    return Curve(index, list(x), over.means, over.halves)


def pattern(index: int) -> Literal["solid"] | tuple[int, tuple[float, ...]]:
    """The `index`-th method's stroke pattern, as a figure takes it."""
    dash = DASHES[index % len(DASHES)]
    return "solid" if dash == "none" else (0, tuple(float(part) for part in dash.split()))


def _frame(axes: Axes, curves: Sequence[OverSeeds]) -> None:
    """Fit the y axis to these curves, with a margin above and below.

    A band counts only up to the height of the curves, because the interval of two seeds is 13 standard errors, which would
    flatten the curves.
    """
    ticks(axes, "y", 6)
    if values := [y for over in curves for line in (over.means, *over.singles) for y in line]:
        low, high = min(values), max(values)
        most = high - low or math.inf
        low = max(min(y for over in curves for y in over.edge(-1)), low - most)
        high = min(max(y for over in curves for y in over.edge(1)), high + most)
        room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
        axes.set_ylim(low - room, high + room)


def _training_axis(axes: Axes, summary: Summary, view: View, ends: Sequence[tuple[float, float]]) -> None:
    """Set the x axis from the first to the last cost, and mark the cooldown's start, for each method where they differ."""
    low, high = min((a for a, _ in ends), default=0.0), max((b for _, b in ends), default=0.0) or 1.0
    views.frame(axes, view, low, high)
    starts = [
        (float(start[view.measure] or 0.0), index)
        for index, method in enumerate(summary["methods"].values())
        if (start := method["cooldown_start"])
    ]
    differ = len(starts) > 1 and max(starts)[0] - min(starts)[0] > 0.005 * (high - low)
    if not differ and starts:
        _mark(axes, starts[0][0], "cooldown")
    for x, index in starts if differ else ():
        _mark(axes, x, "cooldown" if x == max(starts)[0] else "", SERIES[index % len(SERIES)])


def _mark(axes: Axes, x: float, text: str, colour: str = INK) -> None:
    """Draw a vertical line with its name at the top."""
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
