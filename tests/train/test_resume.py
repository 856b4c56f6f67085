"""An interrupted run, taken up again, is the uninterrupted one byte for byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from made_runs import ending
from ngptlab import config as configs
from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.data.batches import Batches
from ngptlab.device import Device, Fetched
from ngptlab.errors import ConfigError, DivergedError
from ngptlab.experiment import train
from ngptlab.runs import Run
from ngptlab.train.checkpoint import list_checkpoints
from ngptlab.train.progress import Silent
from ngptlab.train.stop import Stopped
from ngptlab.train.trainer import Trainer

MakeConfig = Callable[..., RunConfig]
Outcome = Callable[[Path], dict[str, bytes]]


class Break(Exception):
    """Stands for a crash."""


class BreakAfter(Silent):
    """Crashes when told of a finished step, or of a note that contains a text."""

    def __init__(self, step: int = -1, text: str = "\0") -> None:
        self.at, self.text = step, text
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)
        if self.text in text:
            raise Break

    def step(self, step: int, **facts: float) -> None:
        if step == self.at:
            raise Break


@contextmanager
def batches_break_at(step: int) -> Iterator[None]:
    """Reading the batch of `step` (0: of the first update) crashes."""
    original = Batches.at

    def at(self: Batches, number: int, rows: slice = slice(None)) -> Any:
        if number == step:
            raise Break
        return original(self, number, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "at", at)
        yield


def interrupt(config: RunConfig, out: Path, **when: Any) -> None:
    with pytest.raises(Break):
        train(config, out, reporter=BreakAfter(**when))


@pytest.mark.parametrize("method", methods.names())
def test_same_bytes_after_crashes(
    method: str, make_config: MakeConfig, outcome: Outcome, tmp_path: Path
) -> None:
    config = make_config(method)
    straight = train(config, tmp_path / "straight")
    out = tmp_path / "broken"
    for step in (0, 2, 3, 5, 7):  # before any checkpoint, on one (3), between (5), after the second (7)
        with batches_break_at(step), pytest.raises(Break):
            train(config, out)
        assert not list(out.glob("checkpoints/.tmp*"))
    run = train(config, out)
    assert outcome(run.path) == outcome(straight.path)
    assert run.done
    assert [record["step"] for record in run.read("timing")] == list(range(1, 9))


@pytest.mark.parametrize("step", [1, 3, 4, 6, 8])
def test_crash_between_record_and_checkpoint(
    step: int, make_config: MakeConfig, outcome: Outcome, tmp_path: Path
) -> None:
    """Metrics of the step are written, what is due after it is not."""
    config = make_config()
    straight = train(config, tmp_path / "straight")
    interrupt(config, tmp_path / "broken", step=step)
    assert outcome(train(config, tmp_path / "broken").path) == outcome(straight.path)


@pytest.mark.parametrize("text", ["step 0 ", "step 3 ", "step 8 ", "by position"])
def test_crash_after_an_evaluation(
    text: str, make_config: MakeConfig, outcome: Outcome, tmp_path: Path
) -> None:
    """The evaluation is recorded, its checkpoint or the end of the run is not: nothing is recorded twice."""
    config = make_config()
    straight = train(config, tmp_path / "straight")
    interrupt(config, tmp_path / "broken", text=text)
    assert outcome(train(config, tmp_path / "broken").path) == outcome(straight.path)


def test_other_checkpoint_settings_give_the_same_numbers(
    make_config: MakeConfig, outcome: Outcome, tmp_path: Path
) -> None:
    """How often to save is not under the hash, so it may change between the parts of a run."""
    straight = train(make_config(), tmp_path / "straight")
    interrupt(make_config(checkpoint={"every": 1}), tmp_path / "broken", step=5)
    run = train(make_config(checkpoint={"every": 5, "keep": 3}), tmp_path / "broken")
    assert outcome(run.path) == outcome(straight.path)


def read_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, which has the next update queued before the last one's loss is read."""
    monkeypatch.setattr(Device, "runs_ahead", True)
    monkeypatch.setattr(Device, "send", lambda self, array: torch.from_numpy(array))
    monkeypatch.setattr(Device, "fetch", lambda self, values: Fetched(values, None))


def test_numbers_read_one_update_late_are_the_same(
    make_config: MakeConfig, outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, order = outcome(train(make_config(), tmp_path / "straight").path), []
    queue, record = Trainer._queue, Trainer.record_step

    def queueing(self: Trainer, step: int) -> Any:
        order.append(f"q{step + 1}")
        return queue(self, step)

    def recording(self: Trainer, row: dict[str, Any], timing: dict[str, Any]) -> None:
        order.append(f"r{row['step']}")
        record(self, row, timing)

    read_late(monkeypatch)
    monkeypatch.setattr(Trainer, "_queue", queueing)
    monkeypatch.setattr(Trainer, "record_step", recording)
    assert outcome(train(make_config(), tmp_path / "late").path) == straight
    # An evaluation and a checkpoint come after every third, and need all numbers before them.
    assert " ".join(order) == "q1 q2 r1 q3 r2 r3 q4 q5 r4 q6 r5 r6 q7 q8 r7 r8"


@pytest.mark.parametrize("at", [0, 2, 4, 7])
@pytest.mark.parametrize("where", ["_queue", "record_step"])
def test_a_signal_while_numbers_are_late(
    where: str,
    at: int,
    make_config: MakeConfig,
    outcome: Outcome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    straight, calls = outcome(train(make_config(), tmp_path / "straight").path), []
    read_late(monkeypatch)
    plain = getattr(Trainer, where)

    def stopping(self: Trainer, *arguments: Any) -> Any:
        calls.append(0)
        if len(calls) == at + 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, where, stopping)
        with pytest.raises(Stopped):
            train(make_config(), tmp_path / "cut")
    assert outcome(train(make_config(), tmp_path / "cut").path) == straight


def test_divergence_while_numbers_are_late(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The update after it is queued already; neither is recorded or saved."""
    read_late(monkeypatch)
    accumulate, calls = Trainer._accumulate, []

    def breaking(self: Trainer, *arguments: Any) -> Any:
        loss = accumulate(self, *arguments)
        calls.append(0)
        if len(calls) == 5:
            for parameter in self.model.parameters():
                parameter.grad = torch.full_like(parameter, float("nan"))
        return loss

    monkeypatch.setattr(Trainer, "_accumulate", breaking)
    with pytest.raises(DivergedError, match="step 5: "):
        train(make_config(), tmp_path / "run")
    assert len(calls) == 6
    steps = [
        json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [1, 2, 3, 4]
    assert [path.name for path in list_checkpoints(tmp_path / "run" / "checkpoints")] == ["step_000003"]


def test_says_where_it_goes_on(make_config: MakeConfig, tmp_path: Path) -> None:
    interrupt(make_config(), tmp_path / "run", step=5)
    teller = BreakAfter()
    train(make_config(), tmp_path / "run", reporter=teller)
    assert "goes on after step 3" in teller.notes


def test_finished_run_is_left_alone(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = make_config(), tmp_path / "run"
    train(config, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    monkeypatch.setattr(Batches, "at", lambda *_: pytest.fail("trained again"))
    teller = BreakAfter()
    run = train(config, out, reporter=teller)
    assert run.done and teller.notes == [f"already done in {out}"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize("stream", ["metrics", "evals", "timing", "scales"])
def test_torn_last_line_is_dropped(
    stream: str, make_config: MakeConfig, outcome: Outcome, tmp_path: Path
) -> None:
    config = make_config("ngpt")  # which has something in every stream
    straight = train(config, tmp_path / "straight")
    out = tmp_path / "broken"
    interrupt(config, out, step=5)
    with (out / f"{stream}.jsonl").open("a") as file:
        file.write('{"step": 3, "loss_na')
    run = train(config, out)
    assert outcome(run.path) == outcome(straight.path)
    assert [record["step"] for record in run.read("timing")] == list(range(1, 9))


def test_changed_corpus_is_refused(make_config: MakeConfig, corpus: Path, tmp_path: Path) -> None:
    config, out = make_config(), tmp_path / "run"
    interrupt(config, out, step=5)
    before = (out / "metrics.jsonl").read_bytes()
    (corpus / "more.txt").write_text("another document, which was not there before")
    with pytest.raises(ConfigError, match="began on data"):
        train(config, out)
    assert (out / "metrics.jsonl").read_bytes() == before


SLOWED = """
import sys, time
from ngptlab.data.batches import Batches
at = Batches.at
def slowly(self, step, rows=slice(None)):
    time.sleep(0.15)
    return at(self, step, rows)
Batches.at = slowly
from ngptlab.cli import main
sys.exit(main())
"""
"""The command line, at a pace that a signal can meet."""


def start(config: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOWED, "train", str(config), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_line(process: subprocess.Popen[str], path: Path, lines: int) -> None:
    end = time.monotonic() + 100
    while not path.exists() or path.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "the run does not get on"
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_signals(number: signal.Signals, make_config: MakeConfig, outcome: Outcome, tmp_path: Path) -> None:
    config = make_config(train={"steps": 12}, checkpoint={"every": 4})
    straight = train(config, tmp_path / "straight")
    file, out = tmp_path / "config.json", tmp_path / "broken"
    file.write_text(configs.dump(config))
    with start(file, out) as process:
        wait_for_line(process, out / "metrics.jsonl", 5)
        os.kill(process.pid, number)
        _, stderr = process.communicate(timeout=100)
    assert "Traceback" not in stderr
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + number
        step = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"]
        assert 5 <= step < 12
        assert list_checkpoints(out / "checkpoints")[-1].name == f"step_{step:06d}"
        summary = json.loads((out / "summary.json").read_text())
        assert summary["status"] == "stopped" and number.name in summary["reason"]
        last = stderr.strip().splitlines()[-1]
        assert last.startswith(f"ngptlab: stopped by {number.name} after step {step}")
    with start(file, out) as again:
        stdout, stderr = again.communicate(timeout=100)
    assert again.returncode == 0, stderr
    assert stdout.strip() == str(out)
    assert outcome(out) == outcome(straight.path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_inside_the_process(
    number: signal.Signals, make_config: MakeConfig, outcome: Outcome, tmp_path: Path
) -> None:
    """The same without a subprocess: fast, and at an exact step."""

    class Signals(Silent):
        def step(self, step: int, **facts: float) -> None:
            if step == 4:
                os.kill(os.getpid(), number)

    config, out = make_config(), tmp_path / "broken"
    straight = train(config, tmp_path / "straight")
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as caught:
        train(config, out, reporter=Signals())
    assert caught.value.exit_code == 128 + number
    assert signal.getsignal(number) is before
    assert [path.name for path in list_checkpoints(out / "checkpoints")] == ["step_000003", "step_000004"]
    assert json.loads((out / "summary.json").read_text())["status"] == "stopped"
    assert outcome(train(config, out).path) == outcome(straight.path)


def test_summary_of_a_stopped_run_names_its_step(make_config: MakeConfig, tmp_path: Path) -> None:
    class Signals(Silent):
        def step(self, step: int, **facts: float) -> None:
            if step == 4:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        train(make_config(), tmp_path / "run", reporter=Signals())
    assert json.loads((tmp_path / "run" / "summary.json").read_text()).get("step") == 4


def test_signal_in_the_last_step(make_config: MakeConfig, outcome: Outcome, tmp_path: Path) -> None:
    """The run is finished, for there is nothing left to go on with; what would come after it is not begun."""

    class Signals(Silent):
        def step(self, step: int, **facts: float) -> None:
            if step == 8:
                os.kill(os.getpid(), signal.SIGTERM)

    straight = train(make_config(), tmp_path / "straight")
    with pytest.raises(Stopped):
        train(make_config(), tmp_path / "run", reporter=Signals())
    assert train(make_config(), tmp_path / "run").done
    assert outcome(tmp_path / "run") == outcome(straight.path)
    assert ending(Run(tmp_path / "run")) == ending(straight)


def test_straight_runs_agree(make_config: MakeConfig, outcome: Outcome, tmp_path: Path) -> None:
    """What all of the above rests on; and another seed is another run."""
    a, b = (outcome(train(make_config(), tmp_path / name).path) for name in "ab")
    assert a == b
    other = outcome(train(make_config(seed=1), tmp_path / "c").path)
    losses = [json.loads(r["metrics.jsonl"].splitlines()[0])["loss_nats"] for r in (a, other)]
    assert not np.isclose(*losses, rtol=1e-7)
