"""The parts that figures are made of: panels, ticks, legends, a curve with its band.

Only this folder knows matplotlib's modules. A figure elsewhere is a function from numbers to a `Figure`, built from these parts
and drawn on `Axes`.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes as Axes
from matplotlib.figure import Figure as Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ngptlab.draw.style import SERIES, STYLE, Style, saved

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


class Shown(Figure):
    """A figure that a notebook shows by itself. Others it shows only once pyplot was imported."""

    def _repr_png_(self) -> bytes:
        return saved(self, "png", dpi=self.get_dpi())


def grid(
    rows: int, columns: int, inches: tuple[float, float], *, foot: float = 0.0, **shared: Any
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of rows x columns panels, laid out without overlaps.

    `foot`: inches at the bottom that the layout keeps clear of panels, for a caption.
    """
    share = foot / inches[1]
    layout = ConstrainedLayoutEngine(rect=(0, share, 1, 1 - share))
    figure = Shown(figsize=inches, layout=layout)
    places: list[list[Axes]] = figure.subplots(rows, columns, squeeze=False, **shared).tolist()
    return figure, places


def fixed(inches: tuple[float, float], margins: Mapping[str, float]) -> tuple[Figure, Axes]:
    """A figure of one panel between margins, as fractions of its size. It needs no layout."""
    figure = Figure(figsize=inches)
    figure.subplots_adjust(**margins)
    return figure, figure.add_subplot()


def first(count: int, places: Sequence[Sequence[Axes]]) -> list[Axes]:
    """The first `count` panels, row by row; the rest of the last row stays empty."""
    every = [axes for row in places for axes in row]
    for axes in every[count:]:
        axes.set_axis_off()
    return every[:count]


def panels(rows: int, columns: int, caption: str, **shared: Any) -> tuple[Figure, list[list[Axes]]]:
    """A figure of rows x columns panels above a caption."""
    width, height = columns * PANEL_INCHES[0], rows * PANEL_INCHES[1]
    lines = textwrap.wrap(caption, int(width * 15))
    foot = CAPTION_LINE_INCHES * (len(lines) + 0.5)
    total = height + foot + 0.5
    figure, places = grid(rows, columns, (width, total), foot=foot, **shared)
    figure.text(0.01, 0.04 / total, "\n".join(lines), fontsize=7.5, va="bottom")
    return figure, places


def tiles(count: int, columns: int, caption: str, **shared: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels above a caption, row by row."""
    figure, places = panels(math.ceil(count / columns), columns, caption, **shared)
    return figure, first(count, places)


def ticks(
    axes: Axes,
    which: Literal["x", "y"],
    most: int | None = None,
    *,
    whole: bool = False,
    at: Sequence[float] | None = None,
    base: float | None = None,
    between: Sequence[float] = (),
    words: Callable[[float], str] | None = None,
) -> None:
    """Set an axis's ticks. What is not given stays as it is.

    Args:
        most: so many ticks at the most; `whole`: at whole numbers only.
        at: the places of the ticks.
        base: ticks are powers of it.
        between: on a logarithmic axis, factors that have a tick beside each power.
        words: the text of a tick.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    if base is not None:
        axis.set_major_locator(LogLocator(base=base, numticks=most))
    elif at is not None:
        axis.set_major_locator(FixedLocator(at))
    elif most is not None:
        axis.set_major_locator(MaxNLocator(most, integer=whole))
    if at is not None or base is not None:
        axis.set_minor_locator(NullLocator())
    if between:
        axis.set_minor_locator(LogLocator(subs=between))
    if words is not None:
        axis.set_major_formatter(FuncFormatter(lambda value, _: words(value)))
        if between:
            axis.set_minor_formatter(FuncFormatter(lambda value, _: words(value)))


def shade(fraction: float) -> tuple[float, ...]:
    """A colour of a scale from dark to light, for curves in an order, such as steps or blocks."""
    return matplotlib.colormaps["viridis"](fraction)


def key(colour: str, pattern: Any) -> Line2D:
    """A line for a legend."""
    return Line2D([], [], color=colour, linestyle=pattern)


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


def legend(figure: Figure, columns: int | None = None) -> None:
    """Draw one legend for all panels, each label once, in as many columns as fit where their number is not given."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        longest = max(map(len, handles)) + 6  # in characters, with the line before the label
        columns = columns or max(1, int(figure.get_figwidth() * CHARACTERS_PER_INCH / longest))
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
    ticks(axes, "x", 6, whole=True)
    if label:
        axes.set_xlabel("block (depth, from 0)")


def after_steps(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence on the steps after which runs were measured, from {label: {step, ...}}."""
    each = {label: record["step"] for label, record in measured.items()}
    if len(set(each.values())) == 1:
        return f"After step {next(iter(each.values())):,}."
    return "After steps " + ", ".join(f"{step:,} ({label})" for label, step in each.items()) + "."
