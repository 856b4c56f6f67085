"""A sweep as files: sweep.json, sweep.csv with a line for each cell, sweep.png and .svg. Same runs, same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ngptlab.stats.cells import CellRow, Sweep
from ngptlab.stats.tables import of_records
from ngptlab.stats.transfer import Finding, as_json
from ngptlab.studies.files import write
from ngptlab.studies.sweep.figure import MATH, draw, drawable


def write_sweep(cells: Sequence[CellRow], findings: Sequence[Finding], out: Path, *, title: str = "") -> None:
    """Write all four into `out`; no figure where there is no loss.

    Raises:
        ConfigError: it can't be written.
    """
    found: Sweep = {"cells": list(cells), "transfer": list(map(as_json, findings))}
    figure = partial(draw, findings, title=title) if drawable(findings) else None
    write(out, "sweep", numbers=found, table=of_records(CellRow, cells), draw=figure, style=MATH)
