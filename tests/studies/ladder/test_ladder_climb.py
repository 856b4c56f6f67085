"""A ladder through the command line, at toy size.

Most runs are trained in this process; how processes are run, watched and stopped is tested with the sweep.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngptlab.cli import main
from ngptlab.runs import Run

Captured = pytest.CaptureFixture[str]
Outcome = Callable[[Path], dict[str, bytes]]
SHORT = ["ladder", "demo", "--from", "gpt", "--to", "qk_norm"]
"""Two methods that differ in one step."""


pytestmark = pytest.mark.usefixtures("work")


def ladder_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "ladder.json").read_text()))


def test_a_short_ladder(in_process: None, tiny: list[str], capsys: Captured, work: Path) -> None:
    """Both modes have the same two runs."""
    command = [*SHORT, *tiny, "--seeds", "2", "--out", "out"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "gpt: gpt, lr 0.003906 (that of gpt)" in err and "+ qk: qk_norm, lr 0.003906" in err
    assert "± 95% over 2 seeds (Student's t)" in out and "out/ladder.json" in out
    found = ladder_of(work / "out")
    assert [(r["label"], r["seeds"]) for r in found["rungs"]] == [("gpt", [1, 2]), ("+ qk", [1, 2])]
    runs = {path.name for path in (work / "out" / "runs").iterdir()}
    assert runs == {name for r in found["rungs"] for name in r["runs"]} and len(runs) == 4
    for rung in found["rungs"]:
        seeds = [Run(work / "out" / "runs" / name).config for name in rung["runs"]]
        assert [(config.seed, config.data.seed) for config in seeds] == [(1, 1), (2, 2)]
    losses = {
        r["label"]: [
            [e["loss_nats"] for e in Run(work / "out" / "runs" / name).read("evals") if e["eval"] == "val"][
                -1
            ]
            for name in r["runs"]
        ]
        for r in found["rungs"]
    }
    adds = sum(b - a for a, b in zip(losses["gpt"], losses["+ qk"], strict=True)) / 2
    assert found["rungs"][1]["adds"]["nats"] == pytest.approx(adds, abs=1e-12)

    before = {path: path.stat().st_mtime_ns for path in (work / "out" / "runs").rglob("*")}
    assert main([*command, "--mode", "leave-one-out"]) == 0
    after = {path: path.stat().st_mtime_ns for path in (work / "out" / "runs").rglob("*")}
    assert after == before, "the same runs, found again"
    back = ladder_of(work / "out")
    assert [r["label"] for r in back["rungs"]] == ["qk_norm", "- qk"]
    assert back["rungs"][1]["adds"]["nats"] == pytest.approx(-adds, abs=1e-12)
    for run in runs:
        assert main(["report", f"out/runs/{run}", "--out", "page"]) == 0, "a rung is a run like any other"


@pytest.mark.slow
def test_the_whole_ladder(in_process: None, tiny: list[str], capsys: Captured, work: Path) -> None:
    assert main(["ladder", "demo", "--from", "gpt", "--to", "ngpt", *tiny]) == 0
    found = ladder_of(work / "out" / "demo-gpt-ngpt-cumulative")
    assert [r["reason"] for r in found["rungs"]] == [""] * 8
    assert [bool(r["adds"]) for r in found["rungs"]] == [False] + [True] * 7
    total = sum(r["adds"]["nats"] for r in found["rungs"][1:])
    ends = [found["rungs"][i]["final_loss_nats"] for i in (0, -1)]
    assert total == pytest.approx(ends[1] - ends[0], abs=1e-9)
    out, _ = capsys.readouterr()
    assert "One seed" in out and "not tuned, for + norm" in out
    # The two ends are the runs that a comparison makes.
    assert main(["compare", "demo", *tiny, "--out", "out/demo-gpt-ngpt-cumulative"]) == 0
    assert capsys.readouterr().err.count("already done") == 2


def test_rungs_that_diverge_or_fail_are_named(
    in_process: None, tiny: list[str], capsys: Captured, work: Path
) -> None:
    """With their second seeds, so that each has finished runs that must not be shown as the rung's result."""
    command = [*SHORT, *tiny, "--seeds", "3", "--out", "out"]
    assert main(command) == 0
    first, second = ladder_of(work / "out")["rungs"]
    failed, diverged = (Run(work / "out" / "runs" / rung["runs"][1]) for rung in (first, second))
    (failed.path / "config.json").unlink()
    diverged.finish("failed", error="DivergedError", reason="step 3: loss nan")
    assert main(command) == 1
    first, second = ladder_of(work / "out")["rungs"]
    assert first["final_loss_nats"] is second["final_loss_nats"] is None
    assert first["reason"].startswith(
        f"failed with seed 2: {Path('out/runs') / failed.path.name}: neither empty"
    )
    assert second["reason"] == "diverged with seed 2: step 3: loss nan"
    assert [len(rung["runs"]) for rung in (first, second)] == [2, 2]
    out, err = capsys.readouterr()
    assert "+ qk: no result, diverged with seed 2" in out
    assert "1 run failed; the table says why" in err, "a divergence is a result"


@pytest.mark.slow  # five processes with torch
def test_rungs_at_once_are_those_one_by_one(tiny: list[str], work: Path, outcome: Outcome) -> None:
    """Bit for bit, at equal threads; and those that `train` gives."""
    for workers in ("1", "2"):
        assert main([*SHORT, *tiny, "--workers", workers, "--out", workers]) == 0
    runs = [sorted((work / workers / "runs").iterdir()) for workers in "12"]
    assert [run.name for run in runs[0]] == [run.name for run in runs[1]] and len(runs[0]) == 2
    assert [outcome(run) for run in runs[0]] == [outcome(run) for run in runs[1]]
    assert ladder_losses(work / "1") == ladder_losses(work / "2")
    seed = ["--seed", "1", "--data.seed", "1"]  # the first that chose no setting of the demo
    assert main(["train", "demo", "--method", "gpt", *tiny, *seed, "--out", "alone"]) == 0
    (gpt,) = (run for run in runs[0] if Run(run).config.method == "gpt")
    assert outcome(work / "alone") == outcome(gpt)


def ladder_losses(folder: Path) -> list[float]:
    return [rung["final_loss_nats"] for rung in ladder_of(folder)["rungs"]]


@pytest.mark.slow  # a ladder that is killed, and goes on
def test_a_killed_ladder_goes_on(tiny: list[str], work: Path, outcome: Outcome) -> None:
    """Killed while a rung is under way: what is finished stays, the rung goes on from its own checkpoint."""
    fields = [*tiny, "--train.steps", "400", "--eval.every", "200", "--checkpoint.every", "10"]
    command = [*SHORT, *fields, "--workers", "1", "--out", "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ngptlab", *command], stderr=subprocess.PIPE, start_new_session=True
    )
    end = time.monotonic() + 200
    runs = work / "out" / "runs"
    while not any(Run(path.parent).read("metrics")[60:] for path in runs.glob("*qk_norm*/metrics.jsonl")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    process.kill()
    process.communicate()
    (first,) = runs.glob("*-gpt-*")
    finished = (first / "summary.json").stat().st_mtime_ns
    assert main(command) == 0
    assert (first / "summary.json").stat().st_mtime_ns == finished
    (second,) = runs.glob("*qk_norm*")
    assert main(["train", f"{second}/config.json", "--out", "straight"]) == 0
    assert outcome(work / "straight") == outcome(second)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "gpt", "--to", "gpt"], "no seam differs"),
        (["--from", "gpt", "--to", "ngtp"], "did you mean 'ngpt'?"),
        (["--from", "gpt", "--to", "ngpt", "--method", "gpt"], "give --from A and --to B"),
        (["--from", "gpt", "--to", "ngpt", "--seams.norm", "ngpt"], "give --from A and --to B"),
        (["--from", "gpt", "--to", "ngpt", "--data.seed", "3"], "give --seeds N"),
        (["--from", "gpt", "--to", "ngpt", "--seeds", "0"], "--seeds: given 0"),
        (["--from", "gpt", "--to", "qk_norm", "--workers", "-1"], "--workers: given -1"),
        (["--from", "gpt", "--to", "ngpt", "--mode", "sideways"], "invalid choice"),
        (["--from", "gpt"], "--to"),
    ],
)
def test_wrong_use_is_one_line(options: list[str], said: str, capsys: Captured, work: Path) -> None:
    assert main(["ladder", "demo", *options]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1
    assert not list(work.iterdir())


def test_one_run_with_lent_seams(tiny: list[str], capsys: Captured, work: Path) -> None:
    assert main(["train", "demo", *tiny, "--method", "gpt", "--seams.norm", "ngpt", "--seams.qk=ngpt"]) == 0
    run = Run(Path(capsys.readouterr().out.strip()))
    assert run.done and run.path.name.startswith("demo-gpt+ngpt.norm.qk-s0-")
    assert main(["train", f"{run.path}/config.json", "--out", str(run.path)]) == 0
    assert "already done" in capsys.readouterr().err
