"""The figure of a coordinate check: sizes against width, with a column for each kind of activation, a line for each step."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ngptlab.draw.panels import Axes, Figure, grid, shade, ticks
from ngptlab.draw.style import PAGE_INCHES
from ngptlab.studies.coord.numbers import Point

LABELS = {"size": "mean |activation|", "change": "mean |change since step 0|"}

OCTAVES = 4
"""Least height of a panel, in powers of two, so that flat lines look flat."""

SHADES = (0.3, 0.85)
"""Range of the colour map, from the first step to the last, that is visible on white and on black."""


def draw(points: Sequence[Point], *, title: str, narrow: bool = False) -> Figure:
    """Draw the figure: sizes above changes, both axes in powers of two.

    `narrow`, for a page: a row for each kind of activation, sizes to the left and changes to the right.
    """
    kinds = list(dict.fromkeys(point.kind for point in points))
    shape = (len(kinds), len(LABELS)) if narrow else (len(LABELS), len(kinds))
    size = (PAGE_INCHES, 1.2 + 1.5 * len(kinds)) if narrow else (2.4 * len(kinds), 5.2)
    figure, places = grid(*shape, size, sharex=True)
    panels = list(map(list, zip(*places, strict=True))) if narrow else places
    for row, (quantity, label) in enumerate(LABELS.items()):
        for column, kind in enumerate(kinds):
            _panel(panels[row][column], points, kind, quantity)
            if narrow:
                panels[row][column].set_title(f"{kind}: {label}", fontsize=8)
            elif row == 0:
                panels[row][column].set_title(kind)
        if not narrow:
            panels[row][0].set_ylabel(label)
    handles, names = panels[0][0].get_legend_handles_labels()
    where: dict[str, Any] = (
        {"loc": "outside lower center", "ncols": 6} if narrow else {"loc": "outside right center"}
    )
    figure.legend(handles, names, title="step", **where)
    figure.suptitle(title)
    seeds = len({point.seed for point in points})
    figure.supxlabel(
        f"d_model; lines: mean of {seeds} seeds, small marks: each" if seeds > 1 else "d_model; one seed"
    )
    return figure


def _panel(axes: Axes, points: Sequence[Point], kind: str, quantity: str) -> None:
    values: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        if point.kind == kind:
            values[point.step][point.width].append(getattr(point, quantity))
    last = max(values) or 1
    for step, by_width in values.items():
        means = [sum(each) / len(each) for each in by_width.values()]
        shown = [mean if mean > 0 and math.isfinite(mean) else math.nan for mean in means]
        low, high = SHADES
        color = shade(low + (high - low) * step / last)
        axes.plot(list(by_width), shown, marker=".", color=color, label=str(step))
        for width, each in by_width.items():
            singles = [value for value in each if value > 0 and math.isfinite(value)]
            if len(each) > 1:
                axes.plot([width] * len(singles), singles, "_", color=color, markersize=4, alpha=0.6)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    bottom, top = axes.get_ylim()
    spare = max(0.0, OCTAVES - math.log2(top / bottom)) / 2
    axes.set_ylim(bottom * 2**-spare, top * 2**spare)
    ticks(axes, "x", at=sorted({point.width for point in points}), words=lambda width: f"{width:.0f}")
    ticks(axes, "y", 6, base=2, words=lambda size: f"2^{math.log2(size):.0f}")
