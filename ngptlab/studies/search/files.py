"""A search as files: search.json, which configs link, search.csv with a line for each run, search.png and .svg."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ngptlab.stats.search import Search, plain
from ngptlab.stats.tables import as_text
from ngptlab.studies.files import write
from ngptlab.studies.search.figure import draw


def write_search(search: Search, out: Path) -> None:
    """Write all four into `out`.

    Raises:
        ConfigError: it can't be written.
    """
    write(out, "search", numbers=plain(search), table=as_csv(search), draw=partial(draw, search))


def as_csv(search: Search) -> str:
    """One line for each run: method, seed, the searched fields, how it ended, and the hash of its config."""
    columns = ["method", "seed", *search.space, "status", "loss_nats", "hash"]
    return as_text(columns, ({**cell.settings, **cell.model_dump()} for cell in search.cells))
