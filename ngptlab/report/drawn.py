"""A figure as SVG text inside the page, or as files beside it. The same summary gives the same bytes.

On the page a figure has no colours of its own. Ink, grid and series are the page's CSS variables, so it follows light, dark
and print. Its margins are fixed, so that nothing moves when another axis is chosen. The files are light, and have their own
legend.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ngptlab.draw import style as figures
from ngptlab.draw.panels import Axes, Figure, fixed, grid, key
from ngptlab.draw.svg import element
from ngptlab.report import plots

Draw = Callable[[Axes], object]

LARGE: figures.Style = figures.STYLE | {
    "font.size": 10.0,
    "font.family": "sans-serif",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.scale_dashes": False,
}
INCHES = (5.0, 3.0)
MARGINS = {"left": 0.19, "right": 0.985, "bottom": 0.165, "top": 0.97}

NOTE_WIDTH = 105
"""Most characters in a line of a note."""

NAME_LENGTH = 40
"""Most characters of a method's name in a file's legend."""


class Chart(NamedTuple):
    """A figure on a page: its element, what was drawn, and the ranges of its axes."""

    svg: str
    curves: Sequence[plots.Curve]
    x: tuple[float, float]
    y: tuple[float, float]
    form: str
    """`linear` or `log`: how the x axis is scaled."""


def inline(label: str, draw: Draw) -> str:
    """The figure as an element of a page. `label` describes it to readers who can't see it, and must be our own text."""
    svg = figures.for_page(partial(_bare, draw), style=LARGE, fixed=True)
    return element(svg.decode("utf-8"), label)


def chart(label: str, draw: Callable[[Axes], Sequence[plots.Curve]]) -> Chart:
    """The figure as `inline` makes it, with the values that it shows."""
    found: list[tuple[Sequence[plots.Curve], tuple[float, float], tuple[float, float], str]] = []

    def kept(axes: Axes) -> None:
        curves = draw(axes)
        found.append((curves, axes.get_xlim(), axes.get_ylim(), axes.get_xscale()))

    svg = inline(label, kept)
    return Chart(svg, *found[0])


def write(out: Path, name: str, title: str, methods: Sequence[str], draw: Draw, *, note: str = "") -> None:
    """Write <name>.png and <name>.svg into `out`; `note` stands above the legend."""
    figures.write(out, name, partial(_standalone, title, methods, draw, note), style=LARGE)


def _bare(draw: Draw) -> Figure:
    figure, axes = fixed(INCHES, MARGINS)
    draw(axes)
    return figure


def _standalone(title: str, methods: Sequence[str], draw: Draw, note: str) -> Figure:
    """A figure with its title, and below it the note and a legend."""
    lines = textwrap.wrap(note, NOTE_WIDTH)
    height = 4.4 + 0.2 * ((len(methods) + 1) // 2) + 0.16 * len(lines)
    figure, ((axes,),) = grid(1, 1, (7.0, height))
    draw(axes)
    axes.set_title(title, fontsize=11, loc="left")
    colours = figures.SERIES
    handles = [key(colours[n % len(colours)], plots.pattern(n)) for n in range(len(methods))]
    legend = figure.legend(
        handles,
        ["-"] * len(methods),
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=9,
        title="\n".join(lines),
        title_fontsize=8,
    )
    # Names are set only now, because matplotlib leaves out labels that begin with an underscore.
    for text, name in zip(legend.get_texts(), methods, strict=True):
        text.set_text(
            textwrap.shorten(name, NAME_LENGTH, placeholder="…") if " " in name else name[:NAME_LENGTH]
        )
    return figure
