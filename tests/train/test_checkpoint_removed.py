"""An old checkpoint goes at once: a kill half-way leaves none that is published and half there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ngptlab.config import RunConfig
from ngptlab.experiment import train
from ngptlab.runs import Run
from ngptlab.train.checkpoint import list_checkpoints, read_checkpoint

MakeConfig = Callable[..., RunConfig]


class Killed(BaseException):
    """Stands for a kill: nobody catches it."""


def test_a_kill_while_an_old_checkpoint_is_removed(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(checkpoint={"every": 1, "keep": 2})

    def half(folder: Path) -> None:
        os.unlink(Path(folder) / "model.safetensors")
        raise Killed

    monkeypatch.setattr(shutil, "rmtree", half)
    with pytest.raises(Killed):
        train(config, tmp_path / "run")
    monkeypatch.undo()
    found = list_checkpoints(tmp_path / "run" / "checkpoints")
    assert len(found) == 2 and all(read_checkpoint(path) for path in found)
    assert [path for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.endswith(".tmp")]
    monkeypatch.setenv("NGPTLAB_CACHE", str(tmp_path / "cache"))
    train(config, tmp_path / "run")
    assert not [path for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.endswith(".tmp")]


def test_the_streams_are_on_the_disk_before_a_summary_says_what_they_hold(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut would else leave a run that is done and lacks its last evaluations, which nothing can bring back."""
    calls: list[str] = []
    sync, replace = Run.sync, os.replace
    monkeypatch.setattr(Run, "sync", lambda self: (calls.append("sync"), sync(self))[1])
    monkeypatch.setattr(Path, "replace", lambda self, to: (calls.append(Path(to).name), replace(self, to))[1])
    train(make_config(), tmp_path / "run")
    assert calls[-2:] == ["sync", "summary.json"]
