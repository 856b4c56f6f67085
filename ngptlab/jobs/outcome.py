"""How a cell ended, from its run directory or from the process that trained it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ngptlab.errors import LabError
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.runs import Run
from ngptlab.stats.cells import Status
from ngptlab.whole import check_finished

SEEN_SECONDS = 60.0
"""Longest wait for what another machine wrote to a shared disk: NFS may show a folder as it was half a minute ago."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A cell's status."""

    status: Status
    reason: str = ""
    """Why the cell is not done; for a cell that is done, what makes it doubtful."""

    @property
    def over(self) -> bool:
        """Whether nothing is left to train. A cell that diverged is over, too."""
        return self.status in ("done", "diverged")


def outcome(cell: Cell, out: Path, failures: Mapping[str, str] | None = None) -> Outcome:
    """How a cell of a study in `out` ended. `failures` are an executor's reasons for cells that failed, by hash."""
    if cell.refusal:
        return Outcome(status="not applicable", reason=cell.refusal)
    key = cell.config.hash
    if failures and key in failures:
        return Outcome(status="failed", reason=failures[key])
    return _in_directory(run_of(out, cell), key)


def _in_directory(run_path: Path, config_hash: str) -> Outcome:
    """The outcome from a run directory: 'waiting' for none or another run, 'failed' for a damaged run marked as done."""
    waiting = Outcome(status="waiting")
    if not (run_path / "config.json").exists():
        return waiting
    try:
        run = Run(run_path)
        ending = run.ending
        if run.config.hash == config_hash:
            check_finished(run)
    except LabError as error:  # a damaged run is the failure of this cell alone
        return Outcome(status="failed", reason=str(error))
    if run.config.hash != config_hash or ending.status is None:
        return waiting
    return Outcome(status=ending.status, reason=ending.reason)
