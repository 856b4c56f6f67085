"""A ladder through the command line, at toy size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ngptlab import RunConfig
from ngptlab.cli import main
from ngptlab.errors import DivergedError
from ngptlab.ladder import climb
from ngptlab.runs import Run

Captured = pytest.CaptureFixture[str]


pytestmark = pytest.mark.usefixtures("work")


def ladder_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "ladder.json").read_text()))


def test_a_short_ladder(tiny: list[str], capsys: Captured, work: Path) -> None:
    """Two methods that differ in one step; both modes have the same two runs."""
    command = ["ladder", "demo", "--from", "gpt", "--to", "qk_norm", *tiny, "--seeds", "2", "--out", "out"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "gpt: gpt, lr 0.001953 (that of gpt)" in err and "+ qk: qk_norm, lr 0.001953" in err
    assert "± one standard error, over seeds" in out and "out/ladder.json" in out
    found = ladder_of(work / "out")
    assert [(r["label"], r["seeds"]) for r in found["rungs"]] == [("gpt", [0, 1]), ("+ qk", [0, 1])]
    runs = {path.name for path in (work / "out" / "runs").iterdir()}
    assert runs == {name for r in found["rungs"] for name in r["runs"]} and len(runs) == 4
    for rung in found["rungs"]:
        seeds = [Run(work / "out" / "runs" / name).config for name in rung["runs"]]
        assert [(config.seed, config.data.seed) for config in seeds] == [(0, 0), (1, 1)]
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

    assert main([*command, "--mode", "leave-one-out"]) == 0
    assert capsys.readouterr().err.count("already done") == 4, "the same runs, found again"
    back = ladder_of(work / "out")
    assert [r["label"] for r in back["rungs"]] == ["qk_norm", "- qk"]
    assert back["rungs"][1]["adds"]["nats"] == pytest.approx(-adds, abs=1e-12)
    for run in runs:
        assert main(["report", f"out/runs/{run}", "--out", "page"]) == 0, "a rung is a run like any other"


@pytest.mark.slow
def test_the_whole_ladder(tiny: list[str], capsys: Captured, work: Path) -> None:
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


def test_a_rung_that_diverges_is_named(
    tiny: list[str], capsys: Captured, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its second seed, so that its first has a finished run that must not be shown as the rung's result."""
    real = climb.train

    def train(config: RunConfig, *rest: Any, **named: Any) -> Run:
        if config.seed == 1 and config.method == "qk_norm":
            raise DivergedError("step 3: loss nan")
        return real(config, *rest, **named)

    monkeypatch.setattr(climb, "train", train)
    command = ["ladder", "demo", "--from", "gpt", "--to", "qk_norm", *tiny, "--seeds", "3", "--out", "out"]
    assert main(command) == 0
    found = ladder_of(work / "out")
    assert found["rungs"][0]["seeds"] == [0, 1, 2]
    assert found["rungs"][1]["final_loss_nats"] is None
    assert found["rungs"][1]["reason"] == "diverged with seed 1: step 3: loss nan"
    assert "+ qk: no result, diverged with seed 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "gpt", "--to", "gpt"], "no seam differs"),
        (["--from", "gpt", "--to", "ngtp"], "did you mean 'ngpt'?"),
        (["--from", "gpt", "--to", "ngpt", "--method", "gpt"], "give --from A and --to B"),
        (["--from", "gpt", "--to", "ngpt", "--seams.norm", "ngpt"], "give --from A and --to B"),
        (["--from", "gpt", "--to", "ngpt", "--data.seed", "3"], "give --seeds N"),
        (["--from", "gpt", "--to", "ngpt", "--seeds", "0"], "--seeds: given 0"),
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
