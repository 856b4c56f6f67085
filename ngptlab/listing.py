"""Tables that fit their terminal: numbers are never cut and never broken.

Where a table is too wide, the headings wrap at words, and so do texts in the columns that may. Then errors stand below their
numbers. Where that does not do either, each row is written as a block, a line for each heading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.console import ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from ngptlab.terminal import printable

GAP = 2
"""Blanks between two columns."""
READABLE = 16
"""A text is not wrapped to less."""
Kind = Literal["number", "word", "text"]
"""What a column holds: numbers, on the right; words, on the left; texts, which may wrap. The first two are never broken."""


@dataclass(frozen=True)
class _Column:
    heading: str
    kind: Kind


class Listing:
    """A table without lines, which rich can print. Cells are plain text.

    Args:
        title: a line, or several where it is long; empty: none.
    """

    def __init__(self, title: str = "") -> None:
        self.title = printable(title)
        self._columns: list[_Column] = []
        self._rows: list[list[str]] = []

    def add_column(self, heading: str, kind: Kind = "number") -> None:
        """Add a column at the right."""
        self._columns.append(_Column(printable(heading), kind))

    def add_row(self, *cells: str) -> None:
        """Add a row at the end, a cell for each column."""
        assert len(cells) == len(self._columns), (cells, self._columns)
        self._rows.append([printable(cell) for cell in cells])

    @property
    def rows(self) -> Sequence[Sequence[str]]:
        """The cells, row by row."""
        return self._rows

    def __rich_console__(self, console: object, options: ConsoleOptions) -> RenderResult:
        if self.title:
            yield Text(self.title)
        for rows in (self._rows, [[_over_error(cell) for cell in row] for row in self._rows]):
            if widths := self._widths(rows, options.max_width):
                yield self._table(rows, widths)
                return
        yield from self._blocks(options.max_width)

    def _widths(self, rows: Sequence[Sequence[str]], room: int) -> list[int]:
        """A width for each column, together at most `room`; none where there is too little."""
        room -= GAP * (len(self._columns) - 1)
        whole, least = [], []
        for index, column in enumerate(self._columns):
            cells = [row[index] for row in rows]
            widest = max((_width(cell) for cell in cells), default=0)
            heading = _width(column.heading)
            whole.append(max(widest, heading))
            if column.kind == "text":
                word = max((_longest_word(cell) for cell in cells), default=0)
                widest = min(widest, max(word, READABLE))
            least.append(max(widest, min(heading, _longest_word(column.heading))))
        if sum(least) > room:
            return []
        # What is left over goes to the columns from the left, because names stand there.
        widths, spare = least, room - sum(least)
        for index, wanted in enumerate(whole):
            more = min(spare, wanted - widths[index])
            widths[index] += more
            spare -= more
        return widths

    def _table(self, rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
        for column, width in zip(self._columns, widths, strict=True):
            table.add_column(
                Text(column.heading),
                width=width,
                justify="right" if column.kind == "number" else "left",
                overflow="fold",
            )
        for row in rows:
            table.add_row(*map(Text, row))
        return table

    def _blocks(self, room: int) -> Iterator[Text]:
        """A line for each cell that holds something; the first, a row's name, stands alone."""
        margin = 2
        longest = max((_width(column.heading) for column in self._columns[1:]), default=0)
        beside = margin + longest + GAP + READABLE <= room
        for row in self._rows:
            yield Text(row[0], overflow="fold")
            for column, cell in zip(self._columns[1:], row[1:], strict=True):
                if not cell:
                    continue
                heading = column.heading.replace("\n", " ")
                lead = f"{heading:{longest}}{' ' * GAP}" if beside else f"{heading}: "
                yield _hanging(lead, cell, margin, room)


def _hanging(lead: str, cell: str, margin: int, room: int) -> Text:
    """A heading and its cell, whose further lines stand below its first; where a number has no room there, below the heading."""
    indent = margin + cell_len(lead)
    if _longest_word(cell) > room - indent:
        indent = margin + 2
        lead = f"{lead.rstrip()}\n{' ' * indent}"
    lines: list[str] = [""]
    for word in cell.split(" "):
        if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(word) > room - indent:
            lines.append(word)
        else:
            lines[-1] += f"{' ' if lines[-1] else ''}{word}"
    return Text(f"{' ' * margin}{lead}" + f"\n{' ' * indent}".join(lines), overflow="fold")


def _over_error(cell: str) -> str:
    """'1.3890 ± 0.0040' in two lines."""
    return cell.replace(" ± ", "\n± ")


def _width(text: str) -> int:
    return max((cell_len(line) for line in text.split("\n")), default=0)


def _longest_word(text: str) -> int:
    return max(cell_len(word) for word in re.split("[ \n]+", text))
