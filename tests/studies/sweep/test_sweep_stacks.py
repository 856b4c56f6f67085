"""Which cells come together, how many at a time, and that a sweep of stacks is the sweep of its cells."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError
from ngptlab.jobs import stacks as module
from ngptlab.jobs.cell import Cell
from ngptlab.jobs.stacks import (
    CPU_MODELS,
    CPU_STEP,
    CUDA_LOGITS,
    CUDA_MODELS,
    CUDA_STEP,
    CUDA_WIDTH,
    size,
    stack_choice,
    stacks,
)
from ngptlab.runs import Run
from ngptlab.train.checkpoint import list_checkpoints

Make = Callable[..., RunConfig]


def nowhere(cell: Cell) -> Path:
    return Path("/nowhere")


def grouped(cells: list[Cell], *, choice: int | None = 4, workers: int = 1, **more: Any) -> list[list[int]]:
    """Places of the cells in each group."""
    more = {"note": pytest.fail, **more}
    found = stacks(cells, more.pop("run_of", nowhere), choice=choice, workers=workers, **more)
    return [[cells.index(cell) for cell in group] for group in found]


def test_alike_cells_come_together_in_equal_parts(make_config: Make) -> None:
    small = [Cell(make_config("gpt", seed=seed)) for seed in range(6)]
    wide = [Cell(make_config("gpt", seed=seed, model={"d_model": 32})) for seed in range(2)]
    other = [Cell(make_config("ngpt", optim={"lr": rate})) for rate in (0.1, 0.2, 0.3)]
    cells = [*small[:3], *wide, *small[3:], *other]
    assert grouped(cells) == [[0, 1, 2], [3, 4], [5, 6, 7], [8, 9, 10]]
    assert grouped(cells, choice=1) == [[place] for place in range(11)]
    assert grouped(cells, choice=3, workers=2) == [[0, 1, 2], [3], [4], [5, 6, 7], [8, 9], [10]]


def test_no_worker_is_left_without_work(make_config: Make) -> None:
    cells = [Cell(make_config(seed=seed)) for seed in range(4)]
    assert grouped(cells, choice=8, workers=1) == [[0, 1, 2, 3]]
    assert grouped(cells, choice=8, workers=2) == [[0, 1], [2, 3]]
    assert grouped(cells, choice=8, workers=4) == [[0], [1], [2], [3]]


def test_cells_that_are_not_equally_far_stay_apart(make_config: Make, tmp_path: Path) -> None:
    """A stack broken off while it saved: no step is made twice."""
    cells = [Cell(make_config(seed=seed)) for seed in range(4)]
    for cell, steps in zip(cells, ([3, 6], [3], [3, 6], []), strict=True):
        for step in steps:
            (tmp_path / cell.config.run_name / "checkpoints" / f"step_{step:06d}").mkdir(parents=True)
    assert grouped(cells, run_of=lambda cell: tmp_path / cell.config.run_name) == [[0, 2], [1], [3]]


def test_a_method_that_cannot_be_stacked_is_trained_one_by_one(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "refusal", lambda parts: "it looks at values")
    notes: list[str] = []
    cells = [Cell(make_config("gpt", seed=seed)) for seed in range(3)]
    assert grouped(cells, note=notes.append) == [[0], [1], [2]]
    assert notes == ["gpt: its runs are trained one by one; it looks at values"]
    assert grouped(cells, choice=1) == [[0], [1], [2]], "nobody asks, nobody is told"


def test_the_rule_on_a_cpu_looks_at_the_size_of_a_step(make_config: Make) -> None:
    config = make_config(model={"d_model": 32}, train={"batch_size": 16, "context": CPU_STEP // 32 // 16})
    assert size(config, None) == CPU_MODELS
    assert size(config.model_copy(update={"model": make_config(model={"d_model": 64}).model}), None) == 1
    assert size(config, 5) == 5


def test_the_rule_on_a_gpu_looks_at_width_and_at_the_size_of_a_micro_batch(
    make_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "on_cuda", lambda device: True)
    tokens = CUDA_STEP // 32
    batch = {"batch_size": tokens // 64, "context": 64}
    config = make_config(model={"d_model": 32}, train=batch)
    assert size(config, None) == min(CUDA_MODELS, CUDA_LOGITS // (tokens * config.model.vocab_size))
    assert size(make_config(model={"d_model": 64}, train=batch), None) == 1
    halves = {"micro_batch": tokens // 128}
    assert size(make_config(model={"d_model": 64}, train=batch, device=halves), None) > 1
    few = {"batch_size": 1, "context": 64}
    assert size(make_config(model={"d_model": CUDA_WIDTH}, train=few), None) > 1
    assert size(make_config(model={"d_model": 2 * CUDA_WIDTH}, train=few), None) == 1
    monkeypatch.setattr(module, "CUDA_LOGITS", 3 * tokens * config.model.vocab_size)
    assert size(config, None) == 3


@pytest.mark.parametrize(("text", "choice"), [("auto", None), ("off", 1), ("2", 2), ("12", 12)])
def test_choices(text: str, choice: int | None) -> None:
    assert stack_choice(text) == choice


@pytest.mark.parametrize("text", ["", "1", "0", "-2", "on", "2.5"])
def test_wrong_choices(text: str) -> None:
    with pytest.raises(ConfigError, match="--stack: given"):
        stack_choice(text)


COMMAND = [
    *("--methods", "gpt", "ngpt", "--params", "sp", "--widths", "16", "--workers", "1", "--seeds", "2"),
    *("--schedule.warmup-steps", "0", "--schedule.shape", "constant", "--lrs", "2^-9", "1e30"),
]


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow  # ten processes with torch
def test_a_sweep_of_stacks_is_the_sweep_of_its_cells(tiny: list[str], tmp_path: Path) -> None:
    """Divergence too: gpt's cells at a wild rate are recorded as such, and the others go on."""
    outs = {choice: tmp_path / choice for choice in ("off", "4")}
    for choice, out in outs.items():
        command = ["sweep", "mup-bytes-small", *tiny, *COMMAND, "--out", str(out), "--stack", choice]
        assert main(command) == 0
    alone, stacked = rows(outs["off"]), rows(outs["4"])
    assert [row["status"] for row in stacked] == [row["status"] for row in alone]
    assert "diverged" in [row["status"] for row in stacked]
    for one, other in zip(alone, stacked, strict=True):
        assert (one["hash"], one["steps"], one["reason"]) == (other["hash"], other["steps"], other["reason"])
        if one["status"] == "done":
            assert float(other["final_loss_nats"]) == pytest.approx(float(one["final_loss_nats"]), rel=1e-4)
    stacks_of = [Run(path).env.get("stacked") for path in (outs["4"] / "runs").iterdir()]
    assert stacks_of == [4] * 8
    before = {path: path.stat().st_mtime_ns for path in (outs["4"] / "runs").rglob("*")}
    assert main(["sweep", "mup-bytes-small", *tiny, *COMMAND, "--out", str(outs["4"]), "--stack", "4"]) == 0
    assert {path: path.stat().st_mtime_ns for path in (outs["4"] / "runs").rglob("*")} == before


@pytest.mark.slow  # seven processes with torch
def test_what_a_stack_leaves_unfinished_goes_on_alone(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One directory is in the way: that cell alone fails, and by its own words."""
    command = ["sweep", "mup-bytes-small", *tiny, *COMMAND[3:], "--methods", "gpt", "--lrs", "2^-9", "2^-8"]
    out = tmp_path / "out"
    probe = tmp_path / "probe"
    assert main([*command, "--out", str(probe), "--stack", "off"]) == 0
    name = next((probe / "runs").iterdir()).name
    (out / "runs" / name).mkdir(parents=True)
    (out / "runs" / name / "mine.txt").write_text("mine")
    capsys.readouterr()
    assert main([*command, "--out", str(out), "--stack", "4"]) == 1
    err = capsys.readouterr().err
    assert "goes on alone; its stack:" in err
    statuses = {row["hash"]: (row["status"], row["reason"]) for row in rows(out)}
    assert sorted(status for status, _ in statuses.values()) == ["done"] * 3 + ["failed"]
    assert "neither empty nor a run directory" in statuses[name.rpartition("-")[2]][1]
    assert all(
        list_checkpoints(path / "checkpoints") for path in (out / "runs").iterdir() if path.name != name
    )
