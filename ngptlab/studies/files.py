"""Common output of studies: files, tables, warnings. Their contents come from each study's own files.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ngptlab.console import Console
from ngptlab.disk import write_json, write_text
from ngptlab.draw import style as figures
from ngptlab.listing import Listing
from ngptlab.stats.declared import plain
from ngptlab.stats.tables import writing


def write(
    out: Path,
    name: str,
    *,
    numbers: object,
    table: str,
    draw: figures.Build | None = None,
    style: figures.Style = figures.STYLE,
    finite: bool = True,
) -> None:
    """Write <name>.json, <name>.csv and, where a study has a figure, <name>.png and <name>.svg into `out`.

    Raises:
        ConfigError: `out` can't be written.
        ValueError: where `finite`, a number is not.
    """
    with writing(out):
        write_json(out / f"{name}.json", plain(numbers), finite=finite)
        write_text(out / f"{name}.csv", table)
        if draw is not None:
            figures.write(out, name, draw, style=style)


def plain_table(
    title: str, headings: Sequence[str], *, left: Collection[str] = (), wrapped: Collection[str] = ()
) -> Listing:
    """A table without lines. Columns hold numbers, aligned right and never wrapped, except for the named ones."""
    table = Listing(title)
    for heading in headings:
        table.add_column(heading, "text" if heading in wrapped else "word" if heading in left else "number")
    return table


def print_warnings(warnings: Iterable[str], console: Console) -> None:
    """Print a line for each warning, without repeats."""
    for warning in dict.fromkeys(warnings):
        console.print(f"Warning: {warning}", markup=False)
