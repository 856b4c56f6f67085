"""Common parts of the figures of evaluations: panels above a caption, a curve with its band."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ngptlab.draw.style import SERIES, STYLE, Style

MARKERS = "os^Dv<>"
"""Markers of runs, which repeat what colour says, for print in grey."""

PANEL_INCHES = (2.9, 2.3)
CAPTION_LINE_INCHES = 0.16
CHARACTERS_PER_INCH = 13

SMALL: Style = STYLE | {
    "grid.linewidth": 0.6,
    "axes.titlesize": 9.0,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
}


def panels(rows: int, columns: int, caption: str, **shared: Any) -> tuple[Figure, list[list[Axes]]]:
    """A figure of rows x columns panels above a caption."""
    width, height = columns * PANEL_INCHES[0], rows * PANEL_INCHES[1]
    lines = textwrap.wrap(caption, int(width * 15))
    foot = CAPTION_LINE_INCHES * (len(lines) + 0.5)
    total = height + foot + 0.5
    # The layout keeps axes out of the foot, which is for the caption.
    layout = ConstrainedLayoutEngine(rect=(0, foot / total, 1, 1 - foot / total))
    figure = Figure(figsize=(width, total), layout=layout)
    grid: list[list[Axes]] = figure.subplots(rows, columns, squeeze=False, **shared).tolist()
    figure.text(0.01, 0.04 / total, "\n".join(lines), fontsize=7.5, va="bottom")
    return figure, grid


def tiles(count: int, columns: int, caption: str, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, row by row; the rest of the last row stays empty."""
    figure, grid = panels(math.ceil(count / columns), columns, caption, **shared)
    places = [axes for row in grid for axes in row]
    for axes in places[count:]:
        axes.set_axis_off()
    return figure, places[:count]


def wrapped(text: str, width: int) -> str:
    """The text in lines of at most `width` characters, broken at blanks and in names after `_ + / , ; -`, never inside a word."""
    lines: list[str] = []
    for given in text.split("\n"):
        lines.append("")
        for piece in re.findall(r"[^\s_+/,;\-]+[_+/,;\-]*\s*|[_+/,;\-]+\s*", given):
            if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def legend(figure: Figure) -> None:
    """Draw one legend for all panels, each label once."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        longest = max(map(len, handles)) + 6  # in characters, with the line before the label
        columns = max(1, int(figure.get_figwidth() * CHARACTERS_PER_INCH / longest))
        figure.legend(
            handles.values(), handles.keys(), loc="outside upper center", ncols=columns, frameon=False
        )


def curve(
    axes: Axes,
    run: int,
    x: Sequence[float],
    middle: Sequence[float],
    band: tuple[Sequence[float], Sequence[float]] | None = None,
    **line: Any,
) -> None:
    """Draw the curve of run number `run` with a band. Where a value is infinite, a cross is drawn at the panel's top.

    The band is left out where one of its edges is infinite.
    """
    colour, marker = SERIES[run % len(SERIES)], MARKERS[run % len(MARKERS)]
    y = np.array([value if math.isfinite(value) else math.nan for value in middle])
    axes.plot(x, y, color=colour, marker=marker, **line)
    beyond = np.array(x)[np.isnan(y)]
    if len(beyond):
        height = np.full(len(beyond), 0.97)
        axes.plot(beyond, height, "x", ms=6, color=colour, transform=axes.get_xaxis_transform())
    if band is not None:
        low, high = (np.where(np.isfinite(edge), edge, math.nan) for edge in band)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis logarithmic, after drawing. Labels are plain numbers, and a short axis has more of them."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    if low <= 0:  # no drawn value is above zero
        low, high = 1.0, 10.0
        axes.set(**{f"{which}lim": (low, high)})
    decades = math.log10(high / low)
    subs = (1.0,) if decades > 2.5 else (1.0, 2.0, 5.0) if decades > 0.8 else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    axis.set_major_locator(LogLocator(subs=subs, numticks=8 if decades > 2.5 else 20))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.3g}".replace("e+0", "e").replace("e-0", "e-")))


def depth_axis(axes: Axes, *, label: bool) -> None:
    """Number the blocks from 0 on the x axis."""
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if label:
        axes.set_xlabel("block (depth, from 0)")


def after_steps(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence on the steps after which runs were measured, from {label: {step, ...}}."""
    each = {label: record["step"] for label, record in measured.items()}
    if len(set(each.values())) == 1:
        return f"After step {next(iter(each.values())):,}."
    return "After steps " + ", ".join(f"{step:,} ({label})" for label, step in each.items()) + "."
