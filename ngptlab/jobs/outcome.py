"""How a cell ended, as its run directory says, or the process that trained it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ngptlab.errors import LabError
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.runs import Run
from ngptlab.stats.cells import Status
from ngptlab.whole import check_finished


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Where a cell stands."""

    status: Status
    reason: str = ""
    """Why it is not done; of one that is, what makes it doubtful."""

    @property
    def over(self) -> bool:
        """Whether there is nothing left to train; divergence is an end too."""
        return self.status in ("done", "diverged")


def outcome(cell: Cell, out: Path, failures: Mapping[str, str] | None = None) -> Outcome:
    """How a cell of a study in `out` ended; `failures` are what an executor said of those that failed, by hash."""
    if cell.refusal:
        return Outcome(status="not applicable", reason=cell.refusal)
    key = cell.config.hash
    if failures and key in failures:
        return Outcome(status="failed", reason=failures[key])
    return _in_directory(run_of(out, cell), key)


def _in_directory(run_path: Path, config_hash: str) -> Outcome:
    """'waiting' where no run is there, or another one. One that says it is done and is damaged counts as failed."""
    waiting = Outcome(status="waiting")
    if not (run_path / "config.json").exists():
        return waiting
    try:
        run = Run(run_path)
        ending = run.ending
        if run.config.hash == config_hash:
            check_finished(run)
    except LabError as error:  # damaged: this cell's failure, and no other's
        return Outcome(status="failed", reason=str(error))
    if run.config.hash != config_hash or ending.status is None:
        return waiting
    return Outcome(status=ending.status, reason=ending.reason)
