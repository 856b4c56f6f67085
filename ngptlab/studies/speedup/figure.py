"""The figure of speed-ups: the factor over the method's tokens, one line for each speed-up."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ngptlab.draw.panels import Axes, Figure, grid, ticks
from ngptlab.draw.style import INK, PAGE_INCHES, SERIES, bars
from ngptlab.studies.speedup.numbers import SpeedUp

MARKERS = {"measured": "o", "at least": "^", "at most": "v"}


def draw(speedups: Sequence[SpeedUp], *, narrow: bool = False) -> Figure:
    """Draw the figure, all speed-ups in one panel; `narrow`: for a page."""
    columns = 1 if narrow else 2
    size = (PAGE_INCHES, 3.5) if narrow else (7.0, 4.2)
    lines = math.ceil(len(speedups) / columns)
    figure, ((axes,),) = grid(1, 1, (size[0], size[1] + 0.18 * lines))
    for index, speedup in enumerate(speedups):
        _line(axes, speedup, index)
    axes.axhline(1.0, color=INK, linewidth=0.8)
    axes.set_xscale("log")
    ticks(axes, "x", between=(2, 5), words=count)
    axes.set_xlabel("tokens of the method")
    axes.set_ylabel("tokens of the baseline for the same loss,\nin tokens of the method")
    axes.set_title(
        "circles: measured; triangles: the factor lies beyond them\n"
        + bars((len(speedup["seeds"]) for speedup in speedups), marks="short lines"),
        fontsize=8,
    )
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=8 if narrow else 7)
    return figure


def _line(axes: Axes, speedup: SpeedUp, index: int) -> None:
    """Draw one speed-up. Only measured factors are joined, because a bound is no point of the curve."""
    colour, dash = SERIES[index % len(SERIES)], "-" if speedup["kind"] == "by length" else ":"
    label = f"{speedup['method']} over {speedup['baseline']}, {speedup['kind']}, {speedup['schedule']}"
    measured = [p for p in speedup["points"] if p["factor"]["bound"] == "measured"]
    axes.plot(
        [p["tokens"] for p in measured],
        [p["factor"]["value"] for p in measured],
        dash,
        color=colour,
        linewidth=1.2,
        label=label,
    )
    for point in speedup["points"]:
        x, factor = point["tokens"], point["factor"]
        axes.plot(x, factor["value"], MARKERS[factor["bound"]], color=colour, markersize=5)
        if len(point["by_seed"]) > 1:
            singles = [each["value"] for each in point["by_seed"] if each["bound"] == "measured"]
            axes.plot([x] * len(singles), singles, "_", color=colour, markersize=6, alpha=0.6, zorder=1.5)
        if point["interval"]:
            low, high = (end["value"] for end in point["interval"])
            axes.plot([x, x], [low, high], color=colour, linewidth=1.0, alpha=0.7)


def count(value: float) -> str:
    """A count in short form: 1200000 -> '1.2M'."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
