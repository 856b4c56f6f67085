"""What a study is on the page: an answer, a figure, a table, files beside the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from ngptlab.draw.svg import inline
from ngptlab.stats import words


class Cell(NamedTuple):
    """A table's cell: what is shown, and the value by which rows sort; None where there is none."""

    text: str
    value: float | str | None


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study, ready for the page. Texts may be a stranger's, but for `kind`, `caption` and the files' names."""

    kind: str
    title: str
    answer: str
    svg: bytes
    """The figure as drawn for a page; empty where there is none."""
    caption: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    warnings: Sequence[str]
    files: Sequence[str]
    """Names of what `write` leaves in a folder."""
    write: Callable[[Path], None] | None
    """None where the files are written with another's."""

    def figure(self, place: str) -> Markup:
        """The figure as an element of the page; `place` makes its ids its own."""
        return inline(self.svg, f"{self.kind}, {place}") if self.svg else Markup("")


@dataclass(frozen=True)
class Placed:
    """A study with the place of its files."""

    study: Study
    folder: str
    """From the page: '' or with a slash at its end."""
    source: Path
    """Where it was read."""

    @property
    def paths(self) -> list[str]:
        """Its files from the page."""
        return [f"{self.folder}{name}" for name in self.study.files]


def word(text: str) -> Cell:
    """A cell of text."""
    return Cell(text, text)


def number(value: float | None, form: str = ",.10g") -> Cell:
    """A cell of a number; '–' of None."""
    return Cell("–" if value is None else f"{value:{form}}".replace("-", "−"), value)


def loss(value: float | None, error: float | None = None, *, sign: bool = False) -> Cell:
    """A cell of a loss or a difference of losses, in nats, with the half-width of its 95% interval over the seeds."""
    return Cell(words.nats(value, error if value is not None else None, sign=sign), value)
