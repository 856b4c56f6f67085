"""One tidy table of a sweep, read from its run directories: sweep.csv and sweep.json. Same runs, same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ngptlab.analysis.rows import CellRow, Status, as_csv
from ngptlab.disk import write_json, write_text
from ngptlab.errors import LabError
from ngptlab.runs import Run
from ngptlab.sweep.plan import Cell
from ngptlab.whole import check_finished

LAST_STEPS = 50


def run_of(out: Path, cell: Cell) -> Path:
    """The run directory of a cell."""
    return out / "runs" / cell.config.run_name


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


def rows(cells: Sequence[Cell], out: Path, failures: Mapping[str, str]) -> list[CellRow]:
    """A line for each cell; `failures` are the crashes that left no word in their run directory, by hash."""
    return [_row(cell, run_of(out, cell), failures) for cell in cells]


def _row(cell: Cell, run_path: Path, failures: Mapping[str, str]) -> CellRow:
    config = cell.config
    where: dict[str, Any] = {
        "method": config.method,
        "param": config.param.rules,
        "width": config.model.d_model,
        "lr": config.optim.lr,
        "seed": config.seed,
        "hash": config.hash,
        "settings": cell.settings,
    }
    if cell.refusal:
        return CellRow(**where, status="not applicable", reason=cell.refusal)
    if config.hash in failures:
        return CellRow(**where, status="failed", reason=failures[config.hash])
    status, reason = status_of(run_path, config.hash)
    if status == "failed" or not (run_path / "config.json").exists():
        return CellRow(**where, status=status, reason=reason)
    run = Run(run_path)
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
        reason=reason,
        final_loss_nats=final.get("loss_nats"),
        final_loss_stderr=final.get("stderr_nats"),
        train_loss_last50_nats=sum(last) / len(last) if last and status == "done" else None,
        steps=len(metrics),
        params=run.summary.get("params"),
        seconds=round(sum(record["step_seconds"] for record in timing), 3),
    )


def write(table: Sequence[CellRow], out: Path, *, extra: Mapping[str, Any]) -> None:
    """Write sweep.csv and sweep.json; `extra` joins the rows in the JSON."""
    write_text(out / "sweep.csv", as_csv(table))
    write_json(out / "sweep.json", {"cells": [asdict(row) for row in table], **extra})
