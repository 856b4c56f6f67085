"""Runs of a comparison trained at once: the same files as one after the other, and the same errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError
from ngptlab.jobs import side_by_side
from ngptlab.jobs.side_by_side import WORTH_FLOPS, at_once
from ngptlab.ledger.book import Ledger
from ngptlab.plan.memory import step_memory
from ngptlab.runs import Run

MakeConfig = Callable[..., RunConfig]
Captured = pytest.CaptureFixture[str]


def files(out: Path) -> dict[str, bytes]:
    """What each run is, without times."""
    names = ("metrics.jsonl", "evals.jsonl", "scales.jsonl")
    found = [path for path in out.glob("runs/*/*") if path.name in names]
    weights = [path for path in out.glob("runs/*/checkpoints/*/*.safetensors")]
    return {str(path.relative_to(out)): path.read_bytes() for path in found + weights}


@pytest.mark.timeout(300)
def test_two_processes_write_what_one_after_the_other_would(
    tiny: list[str], work: Path, capsys: Captured
) -> None:
    command = ["compare", "demo", *tiny, "--methods", "gpt", "ngpt"]
    assert main([*command, "--out", "one", "--workers", "1"]) == 0
    capsys.readouterr()
    assert main([*command, "--out", "two", "--workers", "2"]) == 0
    out, err = capsys.readouterr()
    assert "2 runs at once, 1 thread each" in err and "ngptlab watch two" in err
    assert err.count("seed 1: done") == 2
    assert "two/report.html" in out
    assert files(work / "one") and files(work / "one") == files(work / "two")
    losses = [
        {name: arm["final_loss_nats"] for name, arm in json.loads(page.read_text())["methods"].items()}
        for page in (work / "one" / "report.json", work / "two" / "report.json")
    ]
    assert losses[0] == losses[1]
    at_once = [
        [run.env.get("runs_at_once") for run in map(Run, (work / out / "runs").iterdir())]
        for out in ("one", "two")
    ]
    assert at_once == [[None, None], [2, 2]], "because step times are other ones then"


def test_an_arm_that_diverges_is_an_error_after_the_others(
    tiny: list[str], work: Path, capsys: Captured, in_process: None
) -> None:
    wild = ["--optim.lr", "1e30", "--schedule.warmup-steps", "0", "--schedule.shape", "constant"]
    assert main(["compare", "demo", *tiny, *wild, "--methods", "gpt", "ngpt", "--workers", "2"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ngptlab: gpt ") and "gradient norm nan" in last
    runs = sorted((work / "out" / "demo" / "runs").iterdir())
    assert len(runs) == 2, "the second arm was trained, too"
    shutil.rmtree(runs[1])
    assert main(["compare", "demo", *tiny, *wild, "--methods", "gpt", "ngpt", "--workers", "2"]) == 1
    assert runs[1].exists(), "although the first had diverged before"


def test_runs_come_from_a_ledger_and_go_there(
    tiny: list[str], work: Path, capsys: Captured, in_process: None
) -> None:
    command = ["compare", "demo", *tiny, "--methods", "gpt", "ngpt", "--workers", "2", "--ledger", "book"]
    assert main([*command, "--out", "one"]) == 0
    assert len(list(Ledger(work / "book").entries())) == 2
    assert main([*command, "--out", "two"]) == 0
    assert capsys.readouterr().err.count("2 runs at once") == 1, "nothing is left to train the second time"
    assert not list((work / "two").glob("runs/*/checkpoints")), "taken from the ledger, which has no weights"


def test_a_target_needs_one_after_the_other(tiny: list[str], capsys: Captured, work: Path) -> None:
    assert main(["compare", "demo", *tiny, "--target", "2.0", "--workers", "2"]) == 2
    assert "--workers: given 2; with --target" in capsys.readouterr().err


def test_as_many_at_once_as_cores_have_work(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_by_side, "cores", lambda: 4)
    small = [make_config("gpt", seed=seed) for seed in (1, 2, 3)]
    assert [at_once(small, tmp_path, workers) for workers in (0, 1, 2, 9)] == [1, 1, 2, 3]
    with pytest.raises(ConfigError, match="--workers: given -1"):
        at_once(small, tmp_path, -1)
    monkeypatch.setattr(side_by_side, "WORTH_FLOPS", WORTH_FLOPS / 1e9)
    assert at_once(small, tmp_path, 0) == 3 and at_once(small[:1], tmp_path, 0) == 1
    many = [make_config("gpt", seed=seed) for seed in range(9)]
    assert at_once(many, tmp_path, 0) == 4
    threads = [make_config("gpt", seed=seed, device={"threads": 2}) for seed in range(9)]
    assert at_once(threads, tmp_path, 0) == 2
    taken = step_memory(many[0], place="cpu", value_bytes=4).total
    monkeypatch.setattr(side_by_side, "host_bytes", lambda: 3 * taken)
    assert at_once(many, tmp_path, 0) == 2, "of three that fit, a fifth of the memory is left free"
    monkeypatch.setattr(side_by_side, "host_bytes", lambda: taken)
    assert at_once(many, tmp_path, 0) == 1
    monkeypatch.undo()
    monkeypatch.setattr(side_by_side, "cores", lambda: 4)
    monkeypatch.setattr(side_by_side, "WORTH_FLOPS", 0)
    monkeypatch.setattr(side_by_side, "on_cuda", lambda config: True)
    assert at_once(many, tmp_path, 0) == 1
