"""The coordinate check drawn: a panel for each kind of activation, a line for each step, flat where rules are right."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ngptlab.check.coord import Point
from ngptlab.check.probes import KINDS

LABELS = {"size": "mean |activation|", "change": "mean |change since step 0|"}

OCTAVES = 4
"""Least height of a panel, in powers of two: what is flat should look flat."""


def draw(points: Sequence[Point], path: Path, *, title: str) -> None:
    """Write the figure as PNG."""
    figure = Figure(figsize=(2.4 * len(KINDS), 5.2), layout="constrained")
    panels = figure.subplots(len(LABELS), len(KINDS), sharex=True)
    for row, (quantity, label) in enumerate(LABELS.items()):
        for column, kind in enumerate(KINDS):
            _panel(panels[row][column], points, kind, quantity)
            if row == 0:
                panels[row][column].set_title(kind)
        panels[row][0].set_ylabel(label)
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, title="step", loc="outside right center")
    figure.suptitle(title)
    figure.supxlabel("d_model")
    figure.savefig(path, dpi=100)


def _panel(axes: Axes, points: Sequence[Point], kind: str, quantity: str) -> None:
    values: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        if point.kind == kind:
            values[point.step][point.width].append(getattr(point, quantity))
    last = max(values)
    for step, by_width in values.items():
        means = [sum(each) / len(each) for each in by_width.values()]
        shown = [mean if mean > 0 and math.isfinite(mean) else math.nan for mean in means]
        color = matplotlib.colormaps["viridis"](step / last)
        axes.plot(list(by_width), shown, marker=".", color=color, label=str(step))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    low, high = axes.get_ylim()
    spare = max(0.0, OCTAVES - math.log2(high / low)) / 2
    axes.set_ylim(low * 2**-spare, high * 2**spare)
    axes.grid(alpha=0.3)
