"""Which checkpoints are kept, through kills too; whether there is room for them; and what a damaged one does."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from damaged_runs import Break, Teller
from ngptlab import experiment
from ngptlab.config import RunConfig
from ngptlab.config.due import most_checkpoints
from ngptlab.errors import CheckpointError
from ngptlab.experiment import train
from ngptlab.runs import Run
from ngptlab.train import checkpoint, retention, saves
from ngptlab.train.checkpoint import list_checkpoints, step_of
from ngptlab.train.retention import check_room, lasting

MakeConfig = Callable[..., RunConfig]
Usage = namedtuple("Usage", "total used free")


def kept(run: Path) -> list[int]:
    return [step_of(path) for path in list_checkpoints(run / "checkpoints")]


LOSSES = {2: 5.0, 4: 3.0, 6: 4.0, 8: 3.0, 10: 6.0, 12: 7.0}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, set()),
        ({"keep_every": 4}, {4, 8, 12}),
        ({"at": (2, 7)}, {2}),
        ({"keep_best": "on"}, {4}),  # the first of two equal ones
        ({"keep_every": 6, "keep_best": "on"}, {4, 6, 12}),
    ],
)
def test_which_ones_outlive_newer_ones(
    settings: dict[str, Any], expected: set[int], make_config: MakeConfig
) -> None:
    config = make_config(train={"steps": 12}, eval={"every": 2}, checkpoint={"every": 2, **settings})
    assert lasting(config, list(LOSSES), LOSSES) == expected


def test_one_that_a_run_may_go_back_to_stays(make_config: MakeConfig) -> None:
    config = make_config(train={"steps": 12, "non_finite": "rewind"}, checkpoint={"every": 4})
    assert lasting(config, [4, 8, 9, 10, 11], {}) == {8} and lasting(config, [2, 3], {}) == set()


SETTINGS: list[tuple[dict[str, Any], list[int]]] = [
    ({"keep": 2, "keep_every": 4}, [4, 8, 10, 12]),
    ({"keep": 3, "keep_best": "on"}, [4, 8, 10, 12]),
    ({"keep": 2, "keep_every": 6, "keep_best": "on"}, [4, 6, 10, 12]),
]


@pytest.fixture
def planned_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every validation loss is that of `LOSSES`, by the number of updates that the weights have met."""

    def validate(model: Any, setting: Any) -> dict[str, Any]:
        loss = LOSSES[done[0]] if done[0] else 9.0
        return {"eval": "val", "loss_nats": loss, "stderr_nats": 0.1, "bits_per_byte": 1.0}

    evaluate, done = experiment.Trainer._evaluate, [0]

    def evaluating(self: Any, step: int) -> None:
        done[0] = step
        evaluate(self, step)

    monkeypatch.setattr(experiment, "_validate", validate)
    monkeypatch.setattr(experiment.Trainer, "_evaluate", evaluating)


@pytest.mark.parametrize(("settings", "expected"), SETTINGS)
def test_kept_through_kills(
    settings: dict[str, Any],
    expected: list[int],
    make_config: MakeConfig,
    tmp_path: Path,
    planned_losses: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed between steps, and between the writing of a checkpoint and the removal of older ones."""
    config = make_config(train={"steps": 12}, eval={"every": 2}, checkpoint={"every": 2, **settings})

    def breaking(path: Path) -> None:
        raise Break

    with monkeypatch.context() as patch, pytest.raises(Break):
        patch.setattr(checkpoint, "remove_at_once", breaking)
        train(config, tmp_path / "run")
    for step in (9, 11):
        with pytest.raises(Break):
            train(config, tmp_path / "run", reporter=Teller(step))
    train(config, tmp_path / "run")
    assert kept(tmp_path / "run") == expected


@pytest.mark.parametrize("settings", [SETTINGS[-1][0]])
def test_no_more_at_once_than_is_counted(
    settings: dict[str, Any],
    make_config: MakeConfig,
    tmp_path: Path,
    planned_losses: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(train={"steps": 12}, eval={"every": 2}, checkpoint={"every": 2, **settings})
    found: list[int] = []
    published = checkpoint.list_checkpoints

    def counting(folder: Path) -> list[Path]:
        found.append(len(published(folder)))
        return published(folder)

    monkeypatch.setattr(checkpoint, "list_checkpoints", counting)
    train(config, tmp_path / "run")
    assert max(found) <= most_checkpoints(config) <= 6


# --- room -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gpt", "ngpt", "muon", "ema", "soap"])
def test_the_size_is_known_before(
    method: str, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted is what is written, but for names, shapes and numbers of steps: 300 bytes a tensor are plenty."""
    sizes: list[int] = []
    monkeypatch.setattr(saves, "check_room", lambda *given, size, **named: sizes.append(size))
    run = train(make_config(method), tmp_path / "run")
    files = list(list_checkpoints(run.path / "checkpoints")[-1].glob("*.safetensors"))
    written, tensors = sum(file.stat().st_size for file in files), 4 * run_tensors(run)
    assert sizes[0] <= written <= sizes[0] + 300 * tensors


def run_tensors(run: Run) -> int:
    from safetensors.torch import load_file

    return len(load_file(list_checkpoints(run.path / "checkpoints")[-1] / "model.safetensors"))


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(retention.shutil, "disk_usage", lambda path: Usage(10**12, 0, size))


def test_too_little_room_for_one_is_told_before_any_training(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 10_000)
    out = tmp_path / "run"
    with pytest.raises(
        CheckpointError, match=r"step_000003: can't be saved \(.* bytes to write, 10000 free"
    ) as caught:
        train(make_config(), out)
    assert "\n" not in str(caught.value) and os.strerror(errno.ENOSPC) in str(caught.value)
    assert not (out / "metrics.jsonl").exists() and not (out / "evals.jsonl").exists()
    monkeypatch.undo()
    monkeypatch.setenv("NGPTLAB_CACHE", str(tmp_path / "cache"))
    assert train(make_config(), out).done


def test_too_little_room_for_all_is_a_warning(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    config = make_config(checkpoint={"every": 1})
    for size, there, warned in ((100, 0, False), (101, 0, True), (216, 400, False), (217, 400, True)):
        folder = tmp_path / f"{size}-{there}" / "checkpoints"
        if there:
            (folder / "step_000001").mkdir(parents=True)
            (folder / "step_000001" / "model.safetensors").write_bytes(bytes(there))
        # Three at once: two that are kept, and the one that is being written.
        free(monkeypatch, 250 if there else 300)
        check_room(folder, config, done=0, size=size, tell=told.append)
        assert bool(told) == warned, (size, there)
        assert all("\n" not in text and "--checkpoint.keep" in text for text in told)
        told.clear()


def test_a_run_that_saves_no_more_needs_no_room(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the last checkpoint, before the evaluations that follow."""
    config, out = make_config(), tmp_path / "run"
    train(config, out)
    (out / "summary.json").unlink()
    free(monkeypatch, 10_000)
    assert train(config, out).done


def test_what_is_counted(make_config: MakeConfig) -> None:
    for settings, number in (
        ({"every": 8}, 1),
        ({"every": 4}, 2),
        ({"every": 1}, 3),
        ({"every": 1, "keep": 4}, 5),
        ({"every": 1, "at": (3,)}, 4),
        ({"every": 1, "keep_every": 4}, 5),
        ({"every": 3, "keep_best": "on"}, 3),  # all there are: 3, 6 and the last
    ):
        assert most_checkpoints(make_config(checkpoint=settings)) == number, settings


# --- a damaged one ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["fall_back", "stop"])
def test_a_damaged_one(how: str, make_config: MakeConfig, tmp_path: Path) -> None:
    out, teller = tmp_path / "run", Teller()
    with pytest.raises(Break):
        train(make_config(), out, reporter=Teller(7))
    newest = list_checkpoints(out / "checkpoints")[-1]
    whole = tmp_path / "whole"
    shutil.copytree(newest, whole)
    (newest / "model.safetensors").write_bytes(b"")
    config = make_config(checkpoint={"damaged": how})
    if how == "fall_back":
        assert train(config, out, reporter=teller).done
        assert any("step_000006 is passed over" in note for note in teller.notes)
        return
    before = {path: path.read_bytes() for path in out.rglob("*.jsonl")}
    with pytest.raises(
        CheckpointError, match=r"step_000006: damaged .*--checkpoint\.damaged fall_back"
    ) as caught:
        train(config, out)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in out.rglob("*.jsonl")} == before
    shutil.rmtree(newest)
    shutil.copytree(whole, newest)
    assert train(config, out).done
