"""An executor that trains nothing: it stops a study's verb where training would begin, after everything was checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ngptlab.jobs import local
from ngptlab.jobs.cell import Cell
from ngptlab.jobs.outcome import outcome
from ngptlab.train.stop import StopRequest


class Seen(Exception):
    """What a study would train: how many cells, and where."""

    def __init__(self, cells: int, out: Path) -> None:
        super().__init__()
        self.cells, self.out = cells, out


class Planned:
    """The executor.

    Raises:
        Seen: in place of training.
    """

    def prepare(self, cells: Sequence[Cell], out: Path) -> None:
        """Check what a study's executor checks, then stop."""
        local.prepare(cells, out)
        raise Seen(sum(not (cell.refusal or outcome(cell, out).over) for cell in cells), out)

    def train(self, cells: Sequence[Cell], out: Path, request: StopRequest) -> dict[str, str]:
        """Never called, because `prepare` comes first."""
        raise AssertionError("prepare comes first")
