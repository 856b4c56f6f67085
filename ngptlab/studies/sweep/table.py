"""The table of a sweep, read from its run directories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ngptlab.config.method_name import stem
from ngptlab.errors import LabError
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.outcome import Outcome, outcome
from ngptlab.runs import Run
from ngptlab.stats.cells import CellRow

LAST_STEPS = 50


def rows(cells: Sequence[Cell], out: Path, failures: Mapping[str, str]) -> list[CellRow]:
    """One row for each cell. `failures` are reasons of crashes that are not in the run directory, by hash."""
    return [_row(cell, out, outcome(cell, out, failures)) for cell in cells]


def _row(cell: Cell, out: Path, ended: Outcome) -> CellRow:
    config = cell.config
    where: dict[str, Any] = {
        "method": stem(config.method),
        "param": config.param.rules,
        "width": config.model.d_model,
        "lr": config.optim.lr,
        "seed": config.seed,
        "hash": config.hash,
        "settings": cell.settings,
    }
    path, status = run_of(out, cell), ended.status
    if status in ("not applicable", "failed") or not (path / "config.json").exists():
        return CellRow(**where, status=status, reason=ended.reason)
    run = Run(path)
    try:
        metrics, timing, evals = run.read("metrics"), run.read("timing"), run.read("evals")
    except LabError as error:
        return CellRow(**where, status="failed", reason=str(error))
    last = [record["loss_nats"] for record in metrics[-LAST_STEPS:]]
    finals = [e for e in evals if e["eval"] == "val" and e["step"] == config.train.steps]
    final = finals[-1] if finals and status == "done" else {}
    return CellRow(
        **where,
        status=status,
        reason=ended.reason,
        final_loss_nats=final.get("loss_nats"),
        final_loss_stderr=final.get("stderr_nats"),
        train_loss_last50_nats=sum(last) / len(last) if last and status == "done" else None,
        steps=max((record["step"] for record in (*metrics[-1:], *timing[-1:])), default=0),
        params=run.summary.get("params"),
        seconds=round(sum(record["step_seconds"] for record in timing), 3),
    )
