"""The figures, as SVG text to stand inside a page. The same summary gives the same bytes.

A figure holds no user's text (names are in the page's legend, where the template escapes them) and no colour
of its own: ink, grid and series are the page's CSS variables, so it follows light, dark and print. Figures
are small on purpose, so that their text can be read when the page is 400 pixels wide.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ngptlab.report.schema import LengthPoint, Summary, ValPoint

INK, GRID = "#123456", "#abcdef"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#808080")
"""Okabe and Ito's palette, which colour-blind readers tell apart. The page has its own shades of it."""
DASHES = ("none", "6 2", "2 2", "6 2 2 2")
"""Stroke patterns in points. Seven colours and four patterns: 28 methods before a pair repeats."""

EARLY_SHARE = 0.1
"""Share of the run that may leave the frame: early losses are so high that the end could not be read."""

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "ngptlab",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.6,
    "lines.scale_dashes": False,
}


def series_style(index: int) -> dict[str, str]:
    """CSS of the `index`-th method's line: its colour and its stroke pattern."""
    return {"color": f"var(--series-{index % len(SERIES)})", "dash": DASHES[index % len(DASHES)]}


def loss_curves(summary: Summary) -> str:
    """Validation loss over the whole run; the first steps may leave the frame."""
    return _figure("Validation loss over the steps", lambda axes: _losses(axes, summary, from_step=0))


def loss_end(summary: Summary) -> str:
    """Validation loss from shortly before the cooldown, on its own scale."""
    steps, start = summary["schedule"]["steps"], summary["schedule"]["cooldown_start_step"]
    from_step = int(0.6 * steps) if start is None else max(0, int(start - 0.15 * (steps - start)))
    return _figure("Validation loss at the end", lambda axes: _losses(axes, summary, from_step=from_step))


def gap_curves(summary: Summary) -> str:
    """Each method's validation loss minus the baseline's, with every change of sign."""

    def draw(axes: Axes) -> None:
        order = list(summary["methods"])
        shown = [0.0]
        for other, gap in summary["gaps"].items():
            first = next(
                (i for i, step in enumerate(gap["steps"]) if step > 0), 0
            )  # untrained models: no gap
            steps, values = gap["steps"][first:], gap["gap_nats"][first:]
            errors = (gap["stderr"] or [0.0] * len(gap["steps"]))[first:]
            _line(axes, order.index(other), steps, values, errors)
            late = [i for i, step in enumerate(steps) if step >= EARLY_SHARE * steps[-1]]
            shown += [values[i] + sign * errors[i] for i in late for sign in (-1, 1)]
            for crossing in gap["crossovers"]:
                axes.plot(crossing["step"], 0, "o", ms=6, mfc="none", mec=INK, mew=1.2, zorder=4)
        axes.axhline(0, color=INK, linewidth=1.0)
        _frame(axes, shown)
        _step_axis(axes, summary, 0)
        axes.set_ylabel("loss minus baseline (nats)")

    return _figure("Gap to the baseline over the steps", draw)


def train_curves(summary: Summary) -> str:
    """Training loss, averaged over blocks of steps."""

    def draw(axes: Axes) -> None:
        shown = []
        for index, method in enumerate(summary["methods"].values()):
            steps = [point["step"] for point in method["train"]]
            losses = [point["loss_nats"] for point in method["train"]]
            _line(axes, index, steps, losses, None)
            shown += [
                y
                for x, y in zip(steps, losses, strict=True)
                if x >= EARLY_SHARE * summary["schedule"]["steps"]
            ]
        _frame(axes, shown)
        _step_axis(axes, summary, 0)
        axes.set_ylabel("training loss (nats per token)")

    return _figure("Training loss over the steps", draw)


def length_curves(summary: Summary) -> str:
    """Loss by position in long documents, each bin at the middle of its positions on the logarithmic axis."""
    context = summary["schedule"]["context"]

    def draw(axes: Axes) -> None:
        ends = {context}
        for index, method in enumerate(summary["methods"].values()):
            bins = method["length"]
            losses = [point["loss_nats"] for point in bins]
            errors = [point["stderr_nats"] or 0.0 for point in bins]
            _line(axes, index, [_middle(point) for point in bins], losses, errors, marker="o")
            ends |= {point["to"] for point in bins}
        axes.set_xscale("log", base=2)
        low, high = math.log2(min(ends)), math.log2(max(ends))
        ticks = [
            2.0**power
            for power in range(math.floor(low), math.ceil(high) + 1, max(1, round((high - low) / 6)))
        ]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.yaxis.set_major_locator(MaxNLocator(6))
        _mark(axes, context, "training context")
        axes.set_xlabel("position in the document (tokens)")
        axes.set_ylabel("loss (nats per token)")

    return _figure("Loss by position beyond the training length", draw)


def _figure(label: str, draw: Callable[[Axes], None]) -> str:
    with matplotlib.style.context(["default", STYLE]):  # whatever the user's matplotlibrc says
        figure = Figure(figsize=(5.0, 3.4), layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _inline(buffer.getvalue(), label)


def _inline(svg: str, label: str) -> str:
    """An SVG file as an element of a page: no prolog, no addresses, ids of its own, colours by CSS."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    size = re.search(r'viewBox="[^"]*"', svg)
    assert size, "matplotlib writes a viewBox"
    svg = re.sub(r"<svg[^>]*>", f'<svg class="plot" role="img" aria-label="{label}" {size[0]}>', svg, count=1)
    own = re.sub(r"\W+", "-", label.lower())
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{own}-", svg)
    svg = svg.replace(INK, "currentColor").replace(GRID, "var(--grid)")
    for index, colour in enumerate(SERIES):
        svg = svg.replace(colour, f"var(--series-{index})")
    return re.sub(r"\n\s*", "\n", svg).strip()


def _losses(axes: Axes, summary: Summary, *, from_step: int) -> None:
    last = summary["schedule"]["steps"]
    shown = []
    for index, method in enumerate(summary["methods"].values()):
        points = list(_since(method["val"], from_step))
        losses, errors = [p["loss_nats"] for p in points], [p["stderr"] for p in points]
        _line(axes, index, [p["step"] for p in points], losses, errors)
        late = [p for p in points if p["step"] >= max(from_step, EARLY_SHARE * last)]
        shown += [p["loss_nats"] + sign * p["stderr"] for p in late for sign in (-1, 1)]
    _frame(axes, shown)
    _step_axis(axes, summary, from_step)
    axes.set_ylabel("validation loss (nats per token)")


def _since(points: Sequence[ValPoint], from_step: int) -> Iterator[ValPoint]:
    """The points from `from_step` on, and the one before, so that the line enters the frame."""
    for before, point in pairwise([None, *points, None]):
        if before is not None and (before["step"] >= from_step or (point and point["step"] > from_step)):
            yield before


def _line(
    axes: Axes,
    index: int,
    x: Sequence[float],
    y: Sequence[float],
    errors: Sequence[float] | None,
    marker: str = "",
) -> None:
    """A method's curve, with a band of one standard error."""
    colour, dash = SERIES[index % len(SERIES)], DASHES[index % len(DASHES)]
    pattern = "solid" if dash == "none" else (0, tuple(float(part) for part in dash.split()))
    if len(x) == 1:
        marker = "o"
    axes.plot(x, y, color=colour, linestyle=pattern, marker=marker, markersize=3.5, zorder=3)
    if errors is not None:
        low, high = ([v + s * e for v, e in zip(y, errors, strict=True)] for s in (-1, 1))
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0, zorder=2)


def _frame(axes: Axes, values: Sequence[float]) -> None:
    """Fit the y axis to these values, with room above and below."""
    if values:
        low, high = min(values), max(values)
        room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
        axes.set_ylim(low - room, high + room)


def _step_axis(axes: Axes, summary: Summary, from_step: int) -> None:
    schedule = summary["schedule"]
    axes.set_xlim(from_step, schedule["steps"] + 0.01 * (schedule["steps"] - from_step))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel("step")
    if schedule["cooldown_start_step"] is not None:
        _mark(axes, schedule["cooldown_start_step"], "cooldown")


def _mark(axes: Axes, x: float, text: str) -> None:
    """A vertical line with its name at the top."""
    axes.axvline(x, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
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
