"""The executor, which trains a study's cells. A study is given one, so that its code is the same on several machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ngptlab.jobs.cell import Cell
from ngptlab.train.stop import StopRequest


class Gate(Protocol):
    """Says whether there is time for more runs."""

    def holds(self, runs: int) -> bool:
        """Whether so many may be started."""

    def took(self, runs: int, seconds: float) -> None:
        """Told what so many took together."""


class Executor(Protocol):
    """Trains cells."""

    def prepare(self, cells: Sequence[Cell], out: Path) -> None:
        """Make once what all cells need, such as the corpus.

        Raises:
            LabError: the data are wrong, or a requirement is missing; nothing was made in `out`.
        """

    def train(self, cells: Sequence[Cell], out: Path, request: StopRequest) -> dict[str, str]:
        """Train every cell that is not over (`jobs.outcome`), each in its `run_of(out, cell)`; return failures, by hash.

        A cell that diverged did not fail. This is called several times where cells branch off others. The caller holds the
        folder's lock.

        Raises:
            SweepStopped: `request` asked for it; the cells under way were saved.
        """
