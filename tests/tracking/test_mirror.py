"""What is handed to a tracker, and that a tracker can do no harm. Needs none: the one that fails stands in for any."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from made_runs import config_of, val
from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError
from ngptlab.experiment import train
from ngptlab.runs import Run
from ngptlab.sweep.local import prepare
from ngptlab.sweep.plan import Cell
from ngptlab.tracking.mirror import mirror
from ngptlab.tracking.sink import check_installed
from ngptlab.tracking.steps import Steps, numbers
from ngptlab.train.progress import Silent

MakeConfig = Callable[..., RunConfig]


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self, last: int = -1) -> None:
        self.last, self.steps, self.summary = last, {}, {}

    def last_step(self) -> int:
        return self.last

    def log(self, step: int, numbers: dict[str, float]) -> None:
        assert step > self.last
        self.last, self.steps[step] = step, numbers

    def flush(self) -> None:
        pass

    def finish(self, summary: dict[str, Any]) -> None:
        self.summary = summary


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def test_a_step_is_handed_on_once_it_is_whole(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", config_of("gpt"))
    steps = Steps(run)
    run.append("evals", val(0, 6.0, 0.1, 2.0))
    assert list(steps.new(after=-1)) == []
    run.append("metrics", {"step": 1, "loss_nats": 5.0})
    assert [step for step, _ in steps.new(after=-1)] == [0]
    run.append("timing", {"step": 1, "step_seconds": 0.5})
    run.append("evals", val(1, 4.9, 0.1, 2.0))
    assert list(steps.new(after=0)) == []  # a line of scales may still come
    run.append("scales", {"step": 1, "scales": [{"name": "s_z", "layer": None, "mean": 1.0}]})
    run.finish("stopped", step=1)
    ((step, found),) = steps.new(after=0)
    assert step == 1 and found["scales/s_z/mean"] == 1.0
    assert (
        found["train/loss_nats"] == 5.0
        and found["timing/step_seconds"] == 0.5
        and found["val/loss_nats"] == 4.9
    )


def test_a_resume_is_followed_from_its_checkpoint(tmp_path: Path) -> None:
    """Steps that the tracker has are left alone; one that a kill cut short comes with all it got the second time."""
    run = Run.open(tmp_path / "run", config_of("gpt"))
    steps, got = Steps(run), {}
    for step in (1, 2, 3):
        run.append("metrics", {"step": step, "loss_nats": float(step)})
    got.update(steps.new(after=-1))
    assert list(got) == [1, 2]
    run.rewind(1)
    run.append("metrics", {"step": 2, "loss_nats": 2.0})
    assert list(steps.new(after=2)) == []
    run.append("metrics", {"step": 3, "loss_nats": 3.5})
    run.append("evals", val(3, 2.9, 0.1, 2.0))
    run.append("metrics", {"step": 4, "loss_nats": 4.0})
    got.update(steps.new(after=2))
    assert got[3]["train/loss_nats"] == 3.5 and got[3]["val/loss_nats"] == 2.9 and list(got) == [1, 2, 3]


def test_numbers_of_a_line() -> None:
    line = {"step": 8, "eval": "length", "documents": 2, "bins": [{"from": 0, "to": 16, "loss_nats": 3.0}]}
    assert numbers("evals", line) == {"length/documents": 2, "length/bins/0-16/loss_nats": 3.0}
    assert numbers("metrics", {"step": 1, "lr": 0.1, "note": "x", "bad": float("nan"), "on": True}) == {
        "train/lr": 0.1
    }
    line = {"step": 3, "scales": [{"name": "a.s_qk", "layer": 0, "kind": "qk", "mean": 1.5}]}
    assert numbers("scales", line) == {"scales/a.s_qk/mean": 1.5}


def test_every_line_is_handed_on_in_order(tmp_path: Path, make_config: MakeConfig) -> None:
    run = train(make_config("ngpt"), tmp_path / "run")
    sink = Kept()
    assert mirror(run, sink, lambda: True) == 8
    assert list(sink.steps) == list(range(9)) and sink.summary["status"] == "done"
    for line in run.read("metrics"):
        assert sink.steps[line["step"]]["train/loss_nats"] == line["loss_nats"]
    assert {step for step, found in sink.steps.items() if "val/loss_nats" in found} == {0, 3, 6, 8}
    half = Kept(last=5)
    mirror(run, half, lambda: True)
    assert list(half.steps) == [6, 7, 8] and half.steps[8] == sink.steps[8]


def test_a_missing_package_is_an_error_before_anything_is_made(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    import importlib.metadata

    config = make_config(track="trackio")
    try:
        importlib.metadata.version("trackio")
        pytest.skip("trackio is installed")
    except importlib.metadata.PackageNotFoundError:
        pass
    with pytest.raises(ConfigError, match=r"pip install 'ngptlab\[trackio\]'"):
        train(config, tmp_path / "run")
    with pytest.raises(ConfigError, match="trackio is not installed"):
        prepare([Cell(config)], tmp_path / "out")
    assert not (tmp_path / "run").exists() and not (tmp_path / "out").exists()
    check_installed("off")


@pytest.mark.parametrize(
    "body",
    ["raise RuntimeError('quota is used up')", "def init(**_):\n    raise RuntimeError('quota is used up')",
     "import os\nprint('quota is used up', flush=True)\nos.kill(os.getpid(), 9)"],
    ids=["at import", "at init", "killed"],
)  # fmt: skip
def test_a_tracker_that_fails_is_told_of_once_and_changes_nothing(
    tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, body: str, outcome: Any
) -> None:
    plain = train(make_config(), tmp_path / "plain")
    fake = tmp_path / "fake"
    (fake / "trackio-9.9.dist-info").mkdir(parents=True)
    (fake / "trackio-9.9.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: trackio\nVersion: 9.9\n"
    )
    (fake / "trackio.py").write_text(body)
    monkeypatch.syspath_prepend(str(fake))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(fake), os.environ.get("PYTHONPATH", "")]))
    told = Notes()
    tracked = train(make_config(track="trackio"), tmp_path / "tracked", reporter=told)
    assert tracked.done and outcome(tracked.path) == outcome(plain.path)
    (failure,) = [line for line in told.lines if "trackio" in line]
    assert "quota is used up" in failure and "training goes on" in failure and "ngptlab track " in failure
