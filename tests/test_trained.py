"""The model of a finished run, and the verb that measures it."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ngptlab import methods
from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.experiment import train
from ngptlab.runs import Run
from ngptlab.trained import open_trained

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def run(make_config: MakeConfig, tmp_path: Path) -> Run:
    return train(make_config("ngpt"), tmp_path / "run")


def test_measures_what_training_measured(run: Run, tmp_path: Path) -> None:
    assert main(["eval", str(run.path), "--evals", "val", "--out", str(tmp_path / "out")]) == 0
    again = json.loads((run.path / "evals" / "val.json").read_text())
    then = [record for record in run.read("evals") if record["eval"] == "val"][-1]
    assert again == then and again["step"] == 8


def test_an_earlier_step_and_more_tokens(run: Run, tmp_path: Path) -> None:
    arguments = ["eval", str(run.path), "--evals", "val", "--step", "6", "--out", str(tmp_path)]
    assert main([*arguments, "--val-tokens", "128"]) == 0
    again = json.loads((run.path / "evals" / "val.json").read_text())
    assert again["step"] == 6 and again["tokens"] == 128
    assert main(arguments) == 0
    earlier = [record for record in run.read("evals") if record["eval"] == "val" and record["step"] == 6]
    assert json.loads((run.path / "evals" / "val.json").read_text()) == earlier[0]


def test_the_model_is_the_trained_one_without_gradients(run: Run) -> None:
    trained = open_trained(run.path)
    fresh = methods.build_model("ngpt", run.config.model, seed=run.config.seed)
    assert trained.step == 8 and not trained.model.training
    assert not any(parameter.requires_grad for parameter in trained.model.parameters())
    assert not trained.model.E_in.equal(fresh.E_in)


def test_wrong_steps_and_damage_are_named(run: Run, make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no checkpoint of step 7; it has 6, 8"):
        open_trained(run.path, step=7)
    bare = Run.open(tmp_path / "bare", make_config())
    with pytest.raises(ConfigError, match=r"has no checkpoint; train it first: ngptlab train .*config\.json"):
        open_trained(bare.path)
    weights = run.path / "checkpoints" / "step_000008" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not match its sha256"):
        open_trained(run.path)
    assert open_trained(run.path, step=6).step == 6


def test_a_checkpoint_of_another_run_is_refused(run: Run, make_config: MakeConfig, tmp_path: Path) -> None:
    other = train(make_config("ngpt", seed=1), tmp_path / "other")
    (other.path / "checkpoints").rename(tmp_path / "gone")
    (run.path / "checkpoints").rename(other.path / "checkpoints")
    with pytest.raises(CheckpointError, match="belongs to run"):
        open_trained(other.path)


def test_the_package_starts_as_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ngptlab", "recipes"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("ngptlab", run_name="__main__")
    assert end.value.code == 0 and "demo" in capsys.readouterr().out
