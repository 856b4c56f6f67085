"""What trains the cells of a study. A study is given one, so that it is the same on one machine, on several, or in a test."""

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
        """Make what all of them need, once.

        Raises:
            LabError: the data are wrong, or something is missing; nothing was made in `out`.
        """

    def train(self, cells: Sequence[Cell], out: Path, request: StopRequest) -> dict[str, str]:
        """Train every cell that is not over (`jobs.outcome`), each in its `run_of(out, cell)`; returns why cells failed, by hash.

        A cell that diverged did not fail. Called more than once where cells begin from others. The caller holds the folder.

        Raises:
            SweepStopped: `request` asked for it; the cells under way were saved.
        """
