"""Style of all figures, as PNG or SVG files or inside a page. The same numbers give the same bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.text import Text

from ngptlab.disk import write_bytes
from ngptlab.terminal import printable

INK, GRID = "#333333", "#dddddd"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#808080")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""

PAGE_INCHES = 5.0
"""Greatest width of a figure on a page. A phone of 400 pixels then shows it whole, with text that can be read."""

Build = Callable[[], Figure]
Style = dict[Any, Any]

STYLE: Style = {
    "svg.hashsalt": "ngptlab",
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "xtick.color": INK,
    "ytick.color": INK,
}

PAGE_STYLE: Style = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


DPI = 160
LEFT_OUT = {"png": ("Software",), "svg": ("Date", "Creator")}
"""Metadata that a file does not get, by format: the date, and the library's version."""


def write(out: Path, name: str, build: Build, *, style: Style = STYLE) -> None:
    """Write <name>.png and <name>.svg into `out`: the figure that `build` makes, laid out once for both."""
    with _laid_out(build, style) as figure:
        for ending, left_out in LEFT_OUT.items():
            write_bytes(out / f"{name}.{ending}", saved(figure, ending, left_out))


def write_one(path: Path, build: Build, *, style: Style, dpi: int) -> None:
    """Write one file, in the format that its suffix names."""
    form = path.suffix[1:].lower()
    with _laid_out(build, style) as figure:
        write_bytes(path, saved(figure, form, LEFT_OUT.get(form, ()), dpi=dpi))


def for_page(build: Build, *, style: Style = STYLE, fixed: bool = False) -> bytes:
    """The figure that `build` makes, as an SVG for a page: text stays text, and there is no background.

    A `fixed` figure has margins of its own and no text but ours. It needs no layout, so it is drawn once and not twice.
    """
    with _laid_out(build, style | PAGE_STYLE, fixed=fixed) as figure:
        return saved(figure, "svg", ("Date", "Creator", "Format", "Type"))  # these hold addresses


@contextmanager
def styled(style: Style) -> Iterator[None]:
    """Build and save figures in this style. The default style comes first, so that a user's matplotlibrc has no effect."""
    with matplotlib.style.context(["default", style]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


@contextmanager
def _laid_out(build: Build, style: Style, *, fixed: bool = False) -> Iterator[Figure]:
    """The figure with its layout fixed, because each saving would compute the layout again.

    Control characters in its texts are escaped, because no SVG may hold them. A name in a script that the font lacks is shown
    as boxes, but tables and page show it.
    """
    with styled(style):
        figure = build()
        if fixed:
            yield figure
            return
        for text in figure.findobj(Text):
            assert isinstance(text, Text)
            text.set_text(printable(text.get_text()))
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        yield figure


def saved(figure: Figure, form: str, left_out: Iterable[str] = (), *, dpi: float = DPI) -> bytes:
    """The figure's file, without the metadata named in `left_out`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=dpi, metadata=dict.fromkeys(left_out))
    return buffer.getvalue()


def bars(counts: Iterable[int], what: str = "bars", *, of: str = "seeds", marks: str = "small marks") -> str:
    """Words that explain the bars and the marks of single seeds, from the numbers of seeds behind the means.

    "bars: 95%, Student's t, n = 3 seeds; small marks: single seeds". One seed has neither, and the words say so.
    """
    several = sorted({count for count in counts if count > 1})
    if not several:
        return f"one seed: no {what}"
    explained = f"{what}: 95%, Student's t, n = {' or '.join(map(str, several))} {of}"
    return f"{explained}; {marks}: single seeds" if marks else explained
