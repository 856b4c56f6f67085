"""The figure of a coordinate check: sizes against width, with a column for each kind of activation, a line for each step."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from ngptlab.studies.coord.numbers import Point

LABELS = {"size": "mean |activation|", "change": "mean |change since step 0|"}

OCTAVES = 4
"""Least height of a panel, in powers of two, so that flat lines look flat."""

SHADES = (0.3, 0.85)
"""Range of the colour map, from the first step to the last, that is visible on white and on black."""


def draw(points: Sequence[Point], *, title: str) -> Figure:
    """Draw the figure: sizes above changes, both axes in powers of two."""
    kinds = list(dict.fromkeys(point.kind for point in points))
    figure = Figure(figsize=(2.4 * len(kinds), 5.2), layout="constrained")
    panels = figure.subplots(len(LABELS), len(kinds), sharex=True, squeeze=False)
    for row, (quantity, label) in enumerate(LABELS.items()):
        for column, kind in enumerate(kinds):
            _panel(panels[row][column], points, kind, quantity)
            if row == 0:
                panels[row][column].set_title(kind)
        panels[row][0].set_ylabel(label)
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, title="step", loc="outside right center")
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
        color = matplotlib.colormaps["viridis"](low + (high - low) * step / last)
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
    axes.xaxis.set_major_locator(FixedLocator(sorted({point.width for point in points})))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda width, _: f"{width:.0f}"))
    axes.yaxis.set_major_locator(LogLocator(base=2, numticks=6))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda size, _: f"2^{math.log2(size):.0f}"))
