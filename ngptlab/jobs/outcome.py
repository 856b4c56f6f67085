"""How a cell ended, as its run directory says."""

from __future__ import annotations

from pathlib import Path

from ngptlab.errors import LabError
from ngptlab.runs import Run
from ngptlab.stats.cells import Status
from ngptlab.whole import check_finished


def status_of(run_path: Path, config_hash: str) -> tuple[Status, str]:
    """What a run directory says of its end, and why or with what warning; 'waiting' where it has none, or is another run's.

    One that says it is done and is damaged counts as failed.
    """
    if not (run_path / "config.json").exists():
        return "waiting", ""
    try:
        run = Run(run_path)
        summary = run.summary
        if run.config.hash == config_hash:
            check_finished(run)
    except LabError as error:  # damaged: this cell's failure, and no other's
        return "failed", str(error)
    if run.config.hash != config_hash or not summary:
        return "waiting", ""
    reason = str(summary.get("reason", ""))
    status = summary.get("status")
    if status == "failed":
        return ("diverged" if summary.get("error") == "DivergedError" else "failed"), reason
    return ("done", str(summary.get("warning", ""))) if status == "done" else ("stopped", reason)
