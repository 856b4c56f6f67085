"""A checkpoint that is written while the training goes on is that of the step asked for, and fails as one that is waited for."""

from __future__ import annotations

import errno
import gc
import math
import os
import re
import resource
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from damaged_runs import Break
from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.config.due import most_checkpoints
from ngptlab.errors import CheckpointError
from ngptlab.experiment import train
from ngptlab.runs import Run
from ngptlab.stack.train import train as train_stack
from ngptlab.train import checkpoint, saves
from ngptlab.train.background import Background
from ngptlab.train.checkpoint import list_checkpoints, read_checkpoint, step_of
from ngptlab.train.progress import Silent
from ngptlab.train.saves import Saves
from ngptlab.train.stop import Stopped
from ngptlab.train.trainer import Trainer

MakeConfig = Callable[..., RunConfig]
Outcome = Callable[[Path], dict[str, bytes]]
WHILE = {"checkpoint": {"every": 3, "keep": 5, "asynchronous": "on"}}
SOON = 0.2
"""Seconds after which a gate opens where nobody else can open it, because the training waits."""


class Gate:
    """Holds what is written beside the training until it is opened; says what happened in which order."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.opened = threading.Event()
        self.under_way = self.most = 0

    def hold(self, write: Callable[..., None]) -> Callable[..., None]:
        def held(self_: Saves, step: int, *given: Any) -> None:
            beside = threading.current_thread() is not threading.main_thread()
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            self.told.append(f"save {step}{' beside' if beside else ''}")
            try:
                if beside:
                    assert self.opened.wait(60)
                write(self_, step, *given)
                self.told.append(f"saved {step}")
            finally:
                self.under_way -= 1

        return held

    def open_soon(self) -> None:
        threading.Timer(SOON, self.opened.set).start()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made = Gate()
    monkeypatch.setattr(Saves, "_write", made.hold(Saves._write))
    yield made
    made.opened.set()
    assert not [thread for thread in threading.enumerate() if thread.name == "ngptlab background"]


class At(Silent):
    """Acts after steps; tells the gate which there were, and keeps the notes."""

    def __init__(self, gate: Gate, **acts: Callable[[], object]) -> None:
        self.gate, self.acts = gate, acts
        self.notes: list[str] = []

    def step(self, step: int, **facts: float) -> None:
        self.gate.told.append(f"step {step}")
        self.acts.get(f"after_{step}", lambda: None)()

    def note(self, text: str) -> None:
        self.notes.append(text)
        if "waits for the checkpoint" in text:
            self.acts.get("on_waiting", lambda: None)()


def files(run: Path) -> dict[str, bytes]:
    """Tensors of all checkpoints; a manifest has digests of times, which differ between any two runs."""
    return {
        f"{path.parent.name}/{path.name}": path.read_bytes()
        for path in run.glob("checkpoints/step_*/*.safetensors")
    }


def all_whole(run: Path) -> list[int]:
    found = list_checkpoints(run / "checkpoints")
    for path in found:
        read_checkpoint(path)
    assert not [path for path in run.rglob(".*") if path.name.endswith(".tmp")]
    return [step_of(path) for path in found]


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


# --- what is written ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ngpt", "ema"])
def test_the_step_that_was_asked_for(
    method: str, make_config: MakeConfig, tmp_path: Path, gate: Gate
) -> None:
    """Its file is written two steps later. One method has scales, one a mean of its weights."""
    train(make_config(method, checkpoint={"every": 3, "keep": 5}), tmp_path / "waiting")
    gate.told.clear()
    acts = {"after_5": gate.opened.set, "after_6": gate.opened.clear, "after_8": gate.opened.set}
    train(make_config(method, **WHILE), tmp_path / "beside", reporter=At(gate, **acts))
    assert gate.told.index("save 3 beside") < gate.told.index("step 5") < gate.told.index("saved 3")
    assert gate.told.index("save 6 beside") < gate.told.index("step 8") < gate.told.index("saved 6")
    assert gate.told[-2:] == ["save 8", "saved 8"] and gate.most == 1
    assert all_whole(tmp_path / "beside") == [3, 6, 8]
    assert files(tmp_path / "beside") == files(tmp_path / "waiting") != {}


def test_without_a_copy_it_would_be_another(
    make_config: MakeConfig, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(make_config("ema", checkpoint={"every": 3, "keep": 5}), tmp_path / "waiting")
    monkeypatch.setattr(saves, "copy_of", lambda content: content)
    acts = {"after_5": gate.opened.set}
    train(make_config("ema", **WHILE), tmp_path / "beside", reporter=At(gate, **acts))
    ours, theirs = files(tmp_path / "beside"), files(tmp_path / "waiting")
    assert {name for name in ours if ours[name] != theirs[name]} >= {
        f"step_000003/{name}.safetensors" for name in ("model", "optimizer")
    }


def test_what_its_manifest_says_of_the_records(make_config: MakeConfig, tmp_path: Path, gate: Gate) -> None:
    """Up to its step and not up to where the training is by then, so that a run goes on from it."""
    acts = {"after_5": gate.opened.set, "after_6": raising(Break())}
    with pytest.raises(Break):
        train(make_config("ngpt", **WHILE), tmp_path / "run", reporter=At(gate, **acts))
    (path,) = list_checkpoints(tmp_path / "run" / "checkpoints")
    streams = read_checkpoint(path)[0]["streams"]
    lines = (tmp_path / "run" / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 6 and streams["metrics"]["bytes"] == sum(map(len, lines[:3]))
    teller = At(gate)
    train(make_config("ngpt", **WHILE), tmp_path / "run", reporter=teller)
    assert "goes on after step 3" in teller.notes


def test_records_are_on_the_disk_before_a_checkpoint_names_them(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, str]] = []
    for owner, name in ((Run, "sync"), (checkpoint, "_write"), (Path, "rename")):
        original = getattr(owner, name)

        def telling(*given: Any, name: str = name, original: Any = original, **named: Any) -> Any:
            told.append((threading.get_ident(), name))
            return original(*given, **named)

        monkeypatch.setattr(owner, name, telling)
    train(make_config(**WHILE), tmp_path / "run")
    for thread in {thread for thread, _ in told} - {threading.get_ident()}:
        assert [name for number, name in told if number == thread][:5] == ["sync", *3 * ["_write"], "rename"]


def test_copies_are_let_go_of(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    copy_of = saves.copy_of

    def copying(content: checkpoint.Content) -> checkpoint.Content:
        gc.collect()
        assert not [ref for ref in held if ref() is not None], "those of the save before"
        copies = copy_of(content)
        held.extend(weakref.ref(tensor) for tensors in copies.values() for tensor in tensors.values())
        return copies

    monkeypatch.setattr(saves, "copy_of", copying)
    train(make_config("ema", **WHILE), tmp_path / "run")
    gc.collect()
    assert held and not [ref for ref in held if ref() is not None]


@pytest.mark.slow
def test_a_stack(make_config: MakeConfig, tmp_path: Path, gate: Gate) -> None:
    for name, changes in (("waiting", {"checkpoint": {"every": 3, "keep": 5}}), ("beside", WHILE)):
        gate.opened.set()
        configs = [make_config(**changes, optim={"lr": lr}) for lr in (2**-9, 2**-8)]
        train_stack([(config, tmp_path / name / str(number)) for number, config in enumerate(configs)])
    assert len([line for line in gate.told if "beside" in line]) == 4
    for number in ("0", "1"):
        assert all_whole(tmp_path / "beside" / number) == [3, 6, 8]
        assert files(tmp_path / "beside" / number) == files(tmp_path / "waiting" / number) != {}


@pytest.mark.gpu
def test_copies_of_what_a_gpu_has() -> None:
    """Those of the updates that it was asked for and may not have made yet, and of none after them."""
    weight = torch.zeros(4096, 1024, device="cuda")
    for _ in range(200):
        weight.add_(1.0)
    (copy,) = checkpoint.copy_of({"model.safetensors": {"w": weight}})["model.safetensors"].values()
    weight.add_(1.0)
    assert copy.device.type == "cpu" and bool((copy == 200.0).all())


# --- one at a time ------------------------------------------------------------------------------------------------------


def test_the_next_one_waits_and_says_so_once(
    make_config: MakeConfig, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saves, "LONG_SECONDS", 0.01)
    config = make_config(checkpoint={"every": 2, "keep": 2, "asynchronous": "on"}, train={"steps": 12})
    kept: list[list[int]] = []

    def opening() -> None:
        kept.append(all_but_hidden(tmp_path / "run"))
        gate.opened.set()

    acts = {"on_waiting": opening, "after_7": gate.opened.clear, "after_10": gate.open_soon}
    teller = At(gate, **acts)
    assert train(config, tmp_path / "run", reporter=teller).done
    waited = [note for note in teller.notes if "waits for the checkpoint" in note]
    assert len(waited) == 1 and waited[0].startswith("step 4 waits") and "--checkpoint.every" in waited[0]
    assert gate.most == 1 and kept == [[]]
    order = [line for line in gate.told if not line.startswith("step")]
    assert order == [
        *(line for step in (2, 4, 6, 8, 10) for line in (f"save {step} beside", f"saved {step}")),
        *("save 12", "saved 12"),
    ]


def all_but_hidden(run: Path) -> list[int]:
    return [step_of(path) for path in list_checkpoints(run / "checkpoints")]


def test_an_old_one_goes_when_the_new_one_is_there(
    make_config: MakeConfig, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(checkpoint={"every": 1, "keep": 2, "asynchronous": "on"})
    found: list[list[int]] = []
    remove = checkpoint.remove_at_once

    def removing(path: Path) -> None:
        found.append(all_whole(tmp_path / "run"))
        remove(path)

    monkeypatch.setattr(checkpoint, "remove_at_once", removing)
    gate.opened.set()
    train(config, tmp_path / "run")
    assert found == [[step - 2, step - 1, step] for step in range(3, 9)]
    assert max(map(len, found)) <= most_checkpoints(config)


# --- errors -------------------------------------------------------------------------------------------------------------


def full(monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """The n-th file of a checkpoint finds no room. Later ones would, so that an error that is lost is not made up for."""
    write, calls = checkpoint._write, [0]

    def writing(*given: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*given, **named)

    monkeypatch.setattr(checkpoint, "_write", writing)


@pytest.fixture
def ended_before_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread is as quick as it can be."""
    begin = Background.begin

    def beginning(self: Background, work: Callable[[], object]) -> None:
        begin(self, work)
        assert self._thread is not None
        self._thread.join()

    monkeypatch.setattr(Background, "begin", beginning)


def test_a_full_disk_ends_the_run_at_the_next_step(
    make_config: MakeConfig, outcome: Outcome, tmp_path: Path, ended_before_the_next_step: None
) -> None:
    said = []
    for name, how in (("waiting", "off"), ("beside", "on")):
        config = make_config(checkpoint={"every": 3, "asynchronous": how})
        with pytest.MonkeyPatch.context() as patch:
            full(patch, 4)
            with pytest.raises(
                CheckpointError, match=r"step_000006: can't be saved .*No space left"
            ) as caught:
                train(config, tmp_path / name)
        said.append(re.sub(r"\d+ free", "free", str(caught.value)).replace(name, ""))
        assert all_whole(tmp_path / name) == [3]
        assert Run(tmp_path / name).summary["status"] == "failed"
        assert [line["step"] for line in Run(tmp_path / name).read("metrics")][-1] == 6
    assert said[0] == said[1] and "\n" not in said[0]
    config = make_config(checkpoint={"every": 3, "asynchronous": "on"})
    assert outcome(train(config, tmp_path / "beside").path) == outcome(
        train(make_config(), tmp_path / "straight").path
    )


@pytest.mark.parametrize("last", ["after_5", "after_7"])
def test_a_full_disk_is_told_at_the_latest_by_the_next_save(
    last: str, make_config: MakeConfig, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the thread is slow: the next save is one beside the training, or the last one."""
    full(monkeypatch, 1 if last == "after_5" else 4)
    acts = {last: gate.open_soon} if last == "after_5" else {"after_1": gate.opened.set}
    with pytest.raises(CheckpointError, match="can't be saved"):
        train(make_config(**WHILE), tmp_path / "run", reporter=At(gate, **acts))
    assert all_whole(tmp_path / "run") == ([] if last == "after_5" else [3])


def test_the_command_ends_with_the_same_line(
    tiny: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "demo", *tiny, "--checkpoint.every", "2", "--out"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert main([*command, "straight"]) == 0  # the corpus is there then
    said = []
    for how in ("off", "on"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        try:
            assert main([*command, f"run-{how}", "--checkpoint.asynchronous", how]) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        line = capsys.readouterr().err.splitlines()[-1]
        said.append(re.sub(r"\d+ free", "free", line).replace(f"run-{how}", "run"))
    assert said[0] == said[1]
    assert "step_000002: can't be saved (File too large (" in said[0] and "bytes to write" in said[0]


def test_the_first_error_is_told(
    make_config: MakeConfig, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends otherwise while a save is written that fails too."""
    full(monkeypatch, 1)
    acts = {"after_4": lambda: (gate.open_soon(), raising(Break())())}
    with pytest.raises(Break):
        train(make_config(**WHILE), tmp_path / "run", reporter=At(gate, **acts))
    assert all_whole(tmp_path / "run") == []


# --- ends ---------------------------------------------------------------------------------------------------------------


def test_an_error_elsewhere_ends_when_the_save_is_there(
    make_config: MakeConfig, tmp_path: Path, gate: Gate
) -> None:
    acts = {"after_4": lambda: (gate.open_soon(), raising(Break())())}
    with pytest.raises(Break):
        train(make_config(**WHILE), tmp_path / "run", reporter=At(gate, **acts))
    assert all_whole(tmp_path / "run") == [3]


def test_ctrl_c_twice_gives_the_save_up(
    make_config: MakeConfig, outcome: Outcome, tmp_path: Path, gate: Gate
) -> None:
    acts = {"after_4": lambda: (gate.open_soon(), raising(KeyboardInterrupt())())}
    with pytest.raises(KeyboardInterrupt):
        train(make_config(**WHILE), tmp_path / "run", reporter=At(gate, **acts))
    assert all_whole(tmp_path / "run") == []
    assert gate.told[-1] == "step 4", "it was not saved"
    straight = train(make_config(), tmp_path / "straight")
    assert outcome(train(make_config(**WHILE), tmp_path / "run").path) == outcome(straight.path)


def test_a_signal_while_a_checkpoint_is_written(
    make_config: MakeConfig, outcome: Outcome, tmp_path: Path, gate: Gate
) -> None:
    """Both that one and the one of the step under way are whole when the training ends."""
    acts = {"after_4": lambda: (gate.open_soon(), os.kill(os.getpid(), signal.SIGTERM))}
    with pytest.raises(Stopped, match="after step 4") as caught:
        train(make_config(**WHILE), tmp_path / "run", reporter=At(gate, **acts))
    assert caught.value.exit_code == 143
    assert gate.told[-4:] == ["step 4", "saved 3", "save 4", "saved 4"]
    assert all_whole(tmp_path / "run") == [3, 4]
    straight = train(make_config(), tmp_path / "straight")
    assert outcome(train(make_config(**WHILE), tmp_path / "run").path) == outcome(straight.path)


def test_a_run_that_goes_back_waits(
    make_config: MakeConfig, outcome: Outcome, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint that it goes back to is the one that is being written."""
    accumulate, met = Trainer._accumulate, [0]

    def accumulating(self: Trainer, *batch: torch.Tensor) -> torch.Tensor:
        met[0] += 1
        loss = accumulate(self, *batch)
        if met[0] == 5:
            gate.open_soon()
            return torch.full_like(loss, math.nan)
        return loss

    monkeypatch.setattr(Trainer, "_accumulate", accumulating)
    for name, changes in (("waiting", {"checkpoint": {"every": 3, "keep": 5}}), ("beside", WHILE)):
        met[0] = 0
        gate.opened.clear()
        train(make_config("ngpt", train={"non_finite": "rewind"}, **changes), tmp_path / name)
    assert outcome(tmp_path / "beside") == outcome(tmp_path / "waiting")
    skipped = (Run(tmp_path / name).read("skipped") for name in ("waiting", "beside"))
    assert [line["kind"] for line in next(skipped)] == [line["kind"] for line in next(skipped)] != []


@pytest.mark.slow
def test_the_best_one_is_kept(make_config: MakeConfig, tmp_path: Path) -> None:
    changes = {"train": {"steps": 12}, "eval": {"every": 2}}
    for name, how in (("waiting", "off"), ("beside", "on")):
        keep = {"every": 2, "keep_best": "on", "asynchronous": how}
        train(make_config(checkpoint=keep, **changes), tmp_path / name)
    assert all_whole(tmp_path / "beside") == all_whole(tmp_path / "waiting")
    assert files(tmp_path / "beside") == files(tmp_path / "waiting")
