"""What all figures look like, as PNG or SVG files or inside a page. The same numbers give the same bytes."""

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
"""Okabe and Ito's palette, which colour-blind readers tell apart."""

STYLE: dict[Any, Any] = {
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

PAGE = "page"
"""In place of a file's ending: an SVG to stand inside a page, its text as text, on no ground of its own."""

PAGE_STYLE: dict[Any, Any] = {
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


def render(fill: Callable[[Figure], None], *, size: tuple[float, float], ending: str) -> bytes:
    """The figure that `fill` draws, `size` in inches, as the bytes of a file with this ending, or for a PAGE."""
    style = STYLE | PAGE_STYLE if ending == PAGE else STYLE
    with matplotlib.style.context(["default", style]):  # whatever the user's matplotlibrc says
        figure = Figure(figsize=size, layout="constrained")
        fill(figure)
        with any_names(figure):
            return saved(figure, ending)


def bars(counts: Iterable[int], what: str = "bars", *, of: str = "seeds", marks: str = "small marks") -> str:
    """What bars are and how single seeds are drawn, from the numbers of seeds behind the means.

    "bars: 95%, Student's t, n = 3 seeds; small marks: single seeds"; of one seed there are neither, and that is said.
    """
    several = sorted({count for count in counts if count > 1})
    if not several:
        return f"one seed: no {what}"
    said = f"{what}: 95%, Student's t, n = {' or '.join(map(str, several))} {of}"
    return f"{said}; {marks}: single seeds" if marks else said


@contextmanager
def any_names(figure: Figure) -> Iterator[None]:
    """Around its drawing: control characters in its texts are escaped, which no SVG may hold.

    A name may be written in a script that the font lacks; it is shown as boxes, and tables and page have it.
    """
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_text(printable(text.get_text()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def saved(figure: Figure, ending: str) -> bytes:
    """A figure as the bytes of a file with this ending, or for a PAGE. No day and no version of a library is among them."""
    buffer = io.BytesIO()
    metadata = dict.fromkeys(("Software",) if ending == "png" else ("Date", "Creator"))
    if ending == PAGE:  # no addresses either
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg" if ending == PAGE else ending, dpi=160, metadata=metadata)
    return buffer.getvalue()


def write(out: Path, name: str, draw: Callable[[str], bytes]) -> None:
    """Write <name>.png and <name>.svg into `out`; `draw` gives the bytes of a file with an ending."""
    for ending in ("png", "svg"):
        write_bytes(out / f"{name}.{ending}", draw(ending))
