"""The table says what the run directories say, no more."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ngptlab.config import RunConfig
from ngptlab.errors import CheckpointError, DivergedError
from ngptlab.experiment import train
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.outcome import Outcome, outcome
from ngptlab.runs import Run
from ngptlab.studies.sweep.files import write_sweep
from ngptlab.studies.sweep.table import rows

Make = Callable[..., RunConfig]
WILD = {"optim": {"lr": 1e30}, "schedule": {"warmup_steps": 0, "shape": "constant"}}


def finished(config: RunConfig, out: Path) -> Path:
    path = out / "runs" / config.run_name
    train(config, path)
    return path


def test_a_finished_cell(make_config: Make, tmp_path: Path) -> None:
    config = make_config(seed=3, data={"seed": 3})
    run = Run(finished(config, tmp_path))
    (row,) = rows([Cell(config)], tmp_path, {})
    assert (row.method, row.param, row.width, row.lr, row.seed) == ("gpt", "sp", 16, config.optim.lr, 3)
    assert (row.hash, row.status, row.steps, row.reason) == (config.hash, "done", 8, "")
    val = [record for record in run.read("evals") if record["eval"] == "val"][-1]
    assert (row.final_loss_nats, row.final_loss_stderr) == (val["loss_nats"], val["stderr_nats"])
    losses = [record["loss_nats"] for record in run.read("metrics")]
    assert row.train_loss_last50_nats == pytest.approx(sum(losses) / 8)
    assert row.params == run.summary["params"] and row.seconds > 0


def test_only_the_last_50_steps(make_config: Make, tmp_path: Path) -> None:
    config = make_config(train={"steps": 60})
    run = Run(finished(config, tmp_path))
    losses = [record["loss_nats"] for record in run.read("metrics")][10:]
    assert rows([Cell(config)], tmp_path, {})[0].train_loss_last50_nats == pytest.approx(sum(losses) / 50)


def test_batches_without_an_update_are_steps(make_config: Make, tmp_path: Path) -> None:
    """Skipped ones have no line of metrics."""
    config = make_config()
    run = Run(finished(config, tmp_path))
    (run.path / "summary.json").unlink()
    run.replace("metrics", run.read("metrics")[:-1])
    assert rows([Cell(config)], tmp_path, {})[0].steps == 8


def test_a_diverged_cell_has_no_loss(make_config: Make, tmp_path: Path) -> None:
    config = make_config(**WILD)
    with pytest.raises(DivergedError):
        finished(config, tmp_path)
    (row,) = rows([Cell(config)], tmp_path, {})
    assert row.status == "diverged" and "lower --optim.lr" in row.reason
    assert row.final_loss_nats is None and row.train_loss_last50_nats is None


def test_statuses(make_config: Make, tmp_path: Path) -> None:
    config = make_config()
    cell, waiting = Cell(config), Outcome(status="waiting")
    path = run_of(tmp_path, cell)
    assert outcome(cell, tmp_path) == waiting
    run = Run.open(path, config)
    assert outcome(cell, tmp_path) == waiting, "killed before it could say anything"
    run.stop("SIGTERM", 3)
    assert outcome(cell, tmp_path) == Outcome(status="stopped", reason="SIGTERM")
    run.fail(CheckpointError("disk"))
    assert outcome(cell, tmp_path) == Outcome(status="failed", reason="disk")
    run.fail(DivergedError("loss nan"))
    assert outcome(cell, tmp_path) == Outcome(status="diverged", reason="loss nan")
    assert outcome(cell, tmp_path, {config.hash: "killed"}) == Outcome(status="failed", reason="killed")
    run.finish("done", step=8)
    assert outcome(cell, tmp_path).status == "failed", "it says so, and has no steps"
    (path / "summary.json").unlink()
    finished(config, tmp_path)
    assert outcome(cell, tmp_path) == Outcome(status="done")
    other = make_config(seed=1)
    path.rename(run_of(tmp_path, Cell(other)))
    assert outcome(Cell(other), tmp_path) == waiting, "another run's directory says nothing"


@pytest.mark.parametrize("name", ["config.json", "summary.json"])
def test_a_damaged_run_is_its_own_failure(make_config: Make, tmp_path: Path, name: str) -> None:
    config = make_config()
    path = finished(config, tmp_path)
    (path / name).write_text("{")
    (row,) = rows([Cell(config)], tmp_path, {})
    assert row.status == "failed" and name in row.reason


def test_failures_and_refusals_keep_their_reason(make_config: Make, tmp_path: Path) -> None:
    one, two = make_config(), make_config(seed=1)
    table = rows([Cell(one, refusal="no constraint"), Cell(two)], tmp_path, {two.hash: "killed by SIGKILL"})
    assert [(row.status, row.reason) for row in table] == [
        ("not applicable", "no constraint"),
        ("failed", "killed by SIGKILL"),
    ]


def test_csv_and_json_hold_the_same(make_config: Make, tmp_path: Path) -> None:
    config = make_config()
    finished(config, tmp_path)
    table = rows([Cell(config), Cell(make_config(seed=1))], tmp_path, {})
    write_sweep(table, (), tmp_path)
    with (tmp_path / "sweep.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    record = json.loads((tmp_path / "sweep.json").read_text())
    assert record["transfer"] == [] and [cell["hash"] for cell in record["cells"]] == [
        r["hash"] for r in lines
    ]
    assert list(lines[0])[:12] == [
        *("method", "param", "width", "lr", "seed", "hash", "status"),
        *("final_loss_nats", "final_loss_stderr", "train_loss_last50_nats", "steps", "params"),
    ]
    assert float(lines[0]["final_loss_nats"]) == record["cells"][0]["final_loss_nats"]
    assert lines[1]["final_loss_nats"] == "" and record["cells"][1]["final_loss_nats"] is None
