"""A study's section of the page: an answer, a figure, a table, files beside the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from ngptlab.draw.svg import inline
from ngptlab.stats import words


class Cell(NamedTuple):
    """A table's cell: its text, and the value by which rows sort, None where there is none."""

    text: str
    value: float | str | None


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study, ready for the page. `kind` and `files` are ours; other texts may be a stranger's."""

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
    """Names of the files that `write` makes in a folder."""
    write: Callable[[Path], None] | None
    """Writes the files into a folder; None where another section's `write` does."""

    def figure(self, place: str) -> Markup:
        """The figure as an element of the page; `place` makes its ids unique."""
        return inline(self.svg, f"{self.kind}, {place}") if self.svg else Markup("")


@dataclass(frozen=True)
class Placed:
    """A study with the folder of its files."""

    study: Study
    folder: str
    """Folder relative to the page: '' or with a slash at its end."""
    source: Path
    """The JSON file that was read."""

    @property
    def paths(self) -> list[str]:
        """Paths of its files relative to the page."""
        return [f"{self.folder}{name}" for name in self.study.files]


def word(text: str) -> Cell:
    """A cell of text."""
    return Cell(text, text)


def number(value: float | None, form: str = ",.10g") -> Cell:
    """A cell of a number; '–' for None."""
    return Cell("–" if value is None else f"{value:{form}}".replace("-", "−"), value)


def loss(value: float | None, error: float | None = None, *, sign: bool = False) -> Cell:
    """A cell of a loss or a difference of losses, in nats, with the half-width of its 95% interval over the seeds."""
    return Cell(words.nats(value, error if value is not None else None, sign=sign), value)
