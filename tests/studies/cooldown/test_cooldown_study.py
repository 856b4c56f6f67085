"""A cooldown study through the command line, at toy size.

Runs are trained in this process, but for the last test: a process with torch for each takes seconds, and how processes are
run, watched and stopped is tested with the sweep.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngptlab.cli import main
from ngptlab.experiment import train
from ngptlab.runs import Run

Captured = pytest.CaptureFixture[str]
Outcome = Callable[[Path], dict[str, bytes]]


pytestmark = pytest.mark.usefixtures("work")


def study_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "cooldown.json").read_text()))


@pytest.mark.slow  # ten short runs, then seven again
def test_a_study_of_two_methods_lengths_and_shapes(
    in_process: None, tiny: list[str], capsys: Captured, work: Path, outcome: Outcome
) -> None:
    fields = [*tiny, "--train.steps", "30", "--checkpoint.every", "11"]
    command = ["cooldown", "demo", *fields, "--fracs", "0.4", "--lengths", "20", "30", "--out", "out"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    found = study_of(work / "out")
    assert found["arms"] == ["gpt", "ngpt"] and found["baseline"] == "gpt"
    key = [(r["arm"], r["steps"], r["frac"], r["shape"], r["start_step"]) for r in found["rows"]]
    for arm in ("gpt", "ngpt"):
        assert [k[1:] for k in key if k[0] == arm] == [
            (20, 0.0, "", 20),
            (20, 0.4, "linear", 12),
            (20, 0.4, "1-sqrt", 12),
            (30, 0.0, "", 30),
            (30, 0.4, "linear", 18),
            (30, 0.4, "1-sqrt", 18),
        ]
    runs = {path.name: Run(path) for path in (work / "out" / "runs").iterdir()}
    assert len(runs) == 2 * (1 + 4) and all(run.done for run in runs.values())
    for row in found["rows"]:
        (run,) = (runs[name] for name in row["runs"])
        losses = {e["step"]: e["loss_nats"] for e in run.read("evals") if e["eval"] == "val"}
        assert row["final_loss_nats"] == losses[row["steps"]]
        if row["frac"]:
            assert row["before_nats"] == losses[row["start_step"]]
            assert json.loads((run.path / "fork.json").read_text())["step"] == row["start_step"]
    assert {run.config.schedule.warmup_steps for run in runs.values() if run.config.method == "gpt"} == {2}
    assert "2 steps: 10% of the shortest run" in "".join(found["warnings"])
    # A branch is the straight run of its config, whatever its length.
    for run in runs.values():
        if run.config.method == "gpt" and run.config.schedule.cooldown_shape == "1-sqrt":
            assert outcome(train(run.config, work / "straight" / run.path.name).path) == outcome(run.path)
    table = list(csv.DictReader((work / "out" / "cooldown.csv").read_text().splitlines()))
    assert [float(r["final_loss_nats"]) for r in table] == [r["final_loss_nats"] for r in found["rows"]]
    ngpt = [r for r in found["rows"] if r["arm"] == "ngpt" and r["frac"]]
    gpt = [r for r in found["rows"] if r["arm"] == "gpt" and r["frac"]]
    for ours, theirs in zip(ngpt, gpt, strict=True):
        gap = ours["gaps"]
        assert gap["before"]["mean"] == ours["before_nats"] - theirs["before_nats"]
        assert gap["after"]["mean"] == ours["final_loss_nats"] - theirs["final_loss_nats"]
        assert gap["change"]["mean"] == pytest.approx(gap["after"]["mean"] - gap["before"]["mean"])
    assert [s["schedule"] for s in found["speedups"]] == ["cooldown 0.4 linear", "cooldown 0.4 1-sqrt"]
    assert {s["runs"] for s in found["speedups"]} == {
        "cooldown branches of one trunk for each method and seed"
    }
    assert "gpt: lr 0.003906, warm-up 2, trunk of 30 steps, 4 branches from 12, 18" in err
    assert "one seed" in out and "over gpt, by length, cooldown 0.4 linear" in out

    # A share more: finished runs are left alone, the new branch leaves the trunk where it can.
    before = {path: path.stat().st_mtime_ns for path in (work / "out" / "runs").rglob("*")}
    assert main([*command, "--fracs", "0.4", "0.5", "--shapes", "linear"]) == 0
    assert before.items() <= {p: p.stat().st_mtime_ns for p in (work / "out" / "runs").rglob("*")}.items()
    assert "leaves the trunk at step 12, which has no checkpoint at 15" in capsys.readouterr().err
    (added,) = (
        r for r in study_of(work / "out")["rows"] if r["frac"] == 0.5 and r["steps"] == 30 and r["gaps"]
    )
    assert added["gaps"]["before"] is not None
    (run,) = (Run(work / "out" / "runs" / name) for name in added["runs"])
    assert outcome(train(run.config, work / "straight" / run.path.name).path) == outcome(run.path)
    # What a study leaves is what reports read.
    pair = [f"out/runs/{r['runs'][0]}" for r in study_of(work / "out")["rows"] if r["frac"] == 0.4]
    assert main(["report", *pair, "--out", "page"]) == 0


def test_a_trunk_that_diverges_and_one_that_fails_are_told(
    in_process: None, tiny: list[str], capsys: Captured, work: Path
) -> None:
    """A row has the reason. A directory in the way fails its trunk, and the branches of that one are not begun."""
    wild = ["--optim.lr", "1e30", "--schedule.warmup-steps", "0"]
    command = ["cooldown", "demo", *tiny, *wild, "--methods", "gpt", "--fracs", "0.5", "--shapes", "linear"]
    assert main([*command, "--out", "wild"]) == 0, "a divergence is a result"
    assert [r["reason"].split(":")[0] for r in study_of(work / "wild")["rows"]] == ["seed 1 diverged"] * 2
    assert "No result for gpt" in capsys.readouterr().out

    command = [
        "cooldown",
        "demo",
        *tiny,
        "--methods",
        "gpt",
        "--fracs",
        "0.5",
        "--shapes",
        "linear",
        "--out",
        "out",
    ]
    assert main(command) == 0
    trunk, branch = (work / "out" / "runs" / r["runs"][0] for r in study_of(work / "out")["rows"])
    (trunk / "config.json").unlink()
    (branch / "config.json").unlink()
    assert main(command) == 1
    rows = study_of(work / "out")["rows"]
    assert "neither empty nor a run directory" in rows[0]["reason"]
    assert rows[1]["reason"].startswith("seed 1 failed: its trunk failed:")
    assert "2 runs failed" in capsys.readouterr().err


def test_with_rewind_branches_of_several_shares_start_from_their_beginning(
    in_process: None, tiny: list[str], capsys: Captured, work: Path
) -> None:
    """A run that may go back to a checkpoint has those of its own hash, which are not those of the trunk."""
    fields = [*tiny, "--train.non-finite", "rewind", "--methods", "gpt", "--shapes", "linear"]
    assert main(["cooldown", "demo", *fields, "--fracs", "0.34", "0.5", "--out", "out"]) == 0
    assert (
        capsys.readouterr().err.count("starts from its beginning, because with train.non_finite rewind") == 2
    )
    runs = [Run(path) for path in (work / "out" / "runs").iterdir()]
    assert len(runs) == 3 and all(run.done and not run.trunk for run in runs)


@pytest.mark.slow  # a study that is killed, and goes on
def test_a_killed_study_goes_on(tiny: list[str], work: Path, outcome: Outcome) -> None:
    """Killed while a branch is under way: what is finished stays, the branch goes on from its own checkpoint."""
    fields = [*tiny, "--train.steps", "400", "--eval.every", "200", "--checkpoint.every", "10"]
    command = ["cooldown", "demo", *fields, "--methods", "gpt", "--fracs", "0.9", "--shapes", "linear"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ngptlab", *command, "--out", "out"],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    end = time.monotonic() + 200
    runs = work / "out" / "runs"
    while not any(Run(path.parent).read("metrics")[60:] for path in runs.glob("demo-*/fork.json")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    process.kill()
    process.communicate()
    (trunk,) = (run for run in map(Run, runs.glob("demo-*")) if not run.trunk)
    finished = (trunk.path / "summary.json").stat().st_mtime_ns
    assert main([*command, "--out", "out"]) == 0
    assert (trunk.path / "summary.json").stat().st_mtime_ns == finished
    (branch,) = (run for run in map(Run, runs.glob("demo-*")) if run.trunk)
    log = (work / "out" / "logs" / f"{branch.path.name}.log").read_text()
    assert branch.done and "not bit-exact" not in log
    assert outcome(train(branch.config, work / "straight").path) == outcome(branch.path)
