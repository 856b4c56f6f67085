"""A run that learned nothing is done, and everything that shows it says so."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from made_runs import MakeRun
from ngptlab import RunConfig
from ngptlab.evidence.runs import read_runs
from ngptlab.experiment import train
from ngptlab.jobs.cell import Cell
from ngptlab.learned import nothing_learned
from ngptlab.report.page import write_report
from ngptlab.stats.doubts import forbidding
from ngptlab.studies.sweep.table import rows
from ngptlab.train.progress import Silent

V = 257
LN_V = math.log(V)


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    ("validations", "expected"),
    [
        (
            [(0, 5.6, 0.01), (9, 1e13, 0.5)],
            "1e+13 ± 0.5 nats, is no better than the untrained model's 5.6000",
        ),
        ([(0, 5.6, 0.01), (5, 3.0, 0.01), (9, 5.7, 0.01)], "5.7000 ± 0.01 nats"),
        ([(9, 5.595, 0.01), (0, 5.6, 0.01)], "is no better"),
        ([(0, 5.6, 0.01), (9, 5.6, 0.0)], "is no better"),
        ([(0, 5.6, 0.01), (9, LN_V + 1e-7, 0.0)], "is ln V, 5.5491 nats"),
        ([(9, LN_V, 0.01)], "is ln V"),
        ([(0, 5.6, 0.01), (9, LN_V + 1e-4, 0.001)], ""),
        ([(0, 5.6, 0.01), (9, 5.58, 0.01)], ""),
        ([(9, 7.0, 0.01)], ""),
        ([(0, 7.0, 0.01)], ""),
        ([], ""),
    ],
)
def test_by_the_first_and_the_last_validation(
    validations: list[tuple[int, float, float]], expected: str
) -> None:
    said = nothing_learned(validations, V)
    assert expected in said if expected else said == ""


@pytest.mark.parametrize("cause", [{"lr": 1e-30}, {"grad_clip": 1e-30}])
def test_a_run_that_trains_nothing_says_so_at_its_end(
    make_config: Callable[..., RunConfig], tmp_path: Path, cause: dict[str, float]
) -> None:
    config, notes = make_config(optim={**cause, "weight_decay": 0.0}), Notes()
    cell = Cell(config)
    run = train(config, tmp_path / "runs" / config.run_name, reporter=notes)
    assert run.summary["status"] == "done"
    assert "it learned nothing" in run.summary["warning"]
    assert notes.lines[-1] == f"warning: {run.summary['warning']}"
    (row,) = rows([cell], tmp_path, {})
    assert row.status == "done" and row.final_loss_nats and row.reason == run.summary["warning"]


def test_a_run_that_learned_has_no_warning(make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    config, notes = make_config(optim={"lr": 0.02}, train={"steps": 30}), Notes()
    run = train(config, tmp_path / "run", reporter=notes)
    facts = ["status", "step", "params", "tokens", "flops_per_token", "epochs"]
    results = ["final_loss_nats", "final_loss_stderr_nats", "train_seconds"]
    assert list(run.summary) == [*facts, *results, "config_hash", "streams"]
    assert not any("warning" in line for line in notes.lines)


def test_page_and_claims_say_so_of_older_runs_too(make_run: MakeRun, tmp_path: Path) -> None:
    """Their summaries have no word of it: it follows from what they recorded."""
    good = make_run("a", {0: 2.1, 50: 1.6, 100: 1.5}, length=[1.5, 1.6])
    bad = make_run("b", {0: 2.1, 50: 1.6, 100: 1e13}, length=[1.5, 1.6])
    write_report([good, bad], tmp_path / "page", title="x")
    warnings = json.loads((tmp_path / "page" / "report.json").read_text())["warnings"]
    assert sum("it learned nothing" in warning for warning in warnings) == 1
    assert warnings[0].startswith(f"{bad.name}: it learned nothing: its last validation, 1e+13")
    ends = {end.method: end.doubts for end in read_runs({good: "good", bad: "bad"}).ends}
    assert not any("learned nothing" in why for why in forbidding(ends["a"], "a"))
    assert any(f"{bad.name}: it learned nothing" in why for why in forbidding(ends["b"], "b"))
