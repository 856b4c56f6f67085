"""Signals end every command with a word, the exit code 128 + its number, and nothing half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.data.prepare import text_to_shards as prepare_module
from ngptlab.data.prepare.journal import Journal
from ngptlab.data.prepare.progress import PrepareProgress
from ngptlab.data.shards.record import read_record
from ngptlab.experiment import train
from ngptlab.export import write
from ngptlab.measure.val import measure as loss
from ngptlab.runs import Run
from ngptlab.train.checkpoint import list_checkpoints
from ngptlab.train.progress import Silent
from ngptlab.train.stop import STOPS, Stopped, interrupting, listen

MakeConfig = Callable[..., RunConfig]
ENDING = [number for number in STOPS if number != signal.SIGINT]


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    after = {number: signal.getsignal(number) for number in STOPS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before


class Signals(Silent):
    """Sends this process a signal after a step."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, step: int, **facts: float) -> None:
        if step == 4:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", STOPS)
def test_a_training_saves(number: signal.Signals, make_config: MakeConfig, tmp_path: Path) -> None:
    signals = Signals(number)
    with pytest.raises(Stopped, match=f"stopped by {number.name} after step 4; saved") as caught:
        train(make_config(), tmp_path / "run", reporter=signals)
    assert signals.notes[-1] == f"saved in {tmp_path / 'run'}"
    assert caught.value.exit_code == 128 + number
    assert list_checkpoints(tmp_path / "run" / "checkpoints")[-1].name == "step_000004"
    assert train(make_config(), tmp_path / "run").done


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1])
def test_what_is_ignored_or_handled_stays_so(
    number: signal.Signals, make_config: MakeConfig, tmp_path: Path
) -> None:
    """`nohup` ignores SIGHUP."""
    heard: list[int] = []
    before = signal.getsignal(number)
    for handler in (signal.SIG_IGN, lambda number, frame: heard.append(number)):
        signal.signal(number, handler)
        with interrupting():
            assert train(make_config(), tmp_path / f"run{len(heard)}", reporter=Signals(number)).done
        assert signal.getsignal(number) is handler
        heard.append(0)
    signal.signal(number, before)
    assert heard == [0, number, 0]


def test_a_second_ctrl_c_quits() -> None:
    with listen() as request, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)
        assert request.signal_number == signal.SIGHUP
        signal.raise_signal(signal.SIGINT)


def test_another_thread_leaves_signals_alone() -> None:
    seen: list[Any] = []

    def look() -> None:
        with interrupting(), listen():
            seen.extend(signal.getsignal(number) for number in STOPS)

    before = [signal.getsignal(number) for number in STOPS]
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == before


@pytest.fixture
def prepare(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A preparation that enters its journal but once in 64 MB, in batches of a document or two."""
    monkeypatch.setattr(prepare_module, "BATCH_BYTES", 500)
    shares = ["--val-share", "0.2", "--long-share", "0.3", "--long-min-tokens", "60"]
    return ["data", "prepare", str(corpus), "--tokenizer", "bytes", *shares, "--out"]


@pytest.mark.parametrize("number", STOPS)
def test_a_preparation_enters_what_it_did(
    number: signal.Signals,
    prepare: list[str],
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told: list[int] = []

    def tell(self: PrepareProgress, share: float, text_bytes: int, tokens: int) -> None:
        told.append(text_bytes)
        if len(told) == 9:
            os.kill(os.getpid(), number)

    assert main([*prepare, "straight"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(PrepareProgress, "tell", tell)
        assert main([*prepare, "shards"]) == 128 + number
    journal = read_record(work / "shards" / "progress.json", Journal)
    assert sum(draft.text_bytes for draft in journal.drafts.values()) == told[-1] and len(told) == 9
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"ngptlab: stopped by {number.name}; {journal.documents} documents are in shards, and the same command "
        "goes on from there"
    )
    assert main([*prepare, "shards"]) == 0
    straight, shards = (
        {p.name: p.read_bytes() for p in (work / n).iterdir()} for n in ("straight", "shards")
    )
    assert straight == shards


def last_word(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("number", ENDING)
def test_an_evaluation_keeps_what_is_measured(
    number: signal.Signals,
    tiny: list[str],
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "demo", *tiny, "--out", "run"]) == 0
    assert main(["eval", "run", "--evals", "val"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(loss, "validation_loss", lambda *a, **k: os.kill(os.getpid(), number))
        assert main(["eval", "run", "--evals", "scales", "val"]) == 128 + number
    assert last_word(capsys) == (
        f"ngptlab: stopped by {number.name}; what is finished stays, and the same command does the rest"
    )
    assert {path.name for path in (work / "run" / "evals").iterdir()} == {".lock", "val.json", "scales.json"}


def test_an_export_leaves_nothing(
    tiny: list[str], work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "demo", *tiny, "--out", "run"]) == 0
    before = set(work.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(write, "write_bytes", lambda *a: os.kill(os.getpid(), signal.SIGTERM))
        assert main(["export", "run", "model"]) == 143
    assert last_word(capsys).startswith("ngptlab: stopped by SIGTERM") and set(work.iterdir()) == before
    assert main(["export", "run", "model"]) == 0


def test_a_tracker_hands_on_what_is_there(make_config: MakeConfig, tmp_path: Path) -> None:
    """A scheduler sends its signal to the tracker's process too."""
    run = Run.open(tmp_path / "run", make_config())
    code = """
import sys
from ngptlab.tracking import __main__ as tracking
class Sink:
    last_step = lambda self: -1
    log = lambda self, step, numbers: print("logged", step, flush=True)
    flush = lambda self: print("flushed", flush=True)
    finish = lambda self, summary: print("finished", flush=True)
tracking.open_sink = lambda tracker, run: Sink()
tracking.main("wandb", sys.argv[1])
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "flushed\n"
        process.send_signal(signal.SIGTERM)
        told = process.stdout.read()
        assert process.wait(60) == 143
    assert told.endswith("finished\nstopped by SIGTERM, and handed on what was there\n")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_a_process_that_is_told(number: signal.Signals, tiny: list[str], work: Path) -> None:
    """From outside, as a closed terminal or a scheduler does it; a nohup'ed one goes on."""
    command = [sys.executable, "-m", "ngptlab", "train", "demo", *tiny, "--train.steps", "3000"]
    with subprocess.Popen([*command, "--out", "run"], stderr=subprocess.PIPE, text=True) as process:
        until(lambda: (work / "run" / "metrics.jsonl").exists(), process)
        process.send_signal(number)
        _, err = process.communicate(timeout=100)
    assert process.returncode == 128 + number
    assert f"stopped by {number.name} after step" in err.splitlines()[-1]
    assert list_checkpoints(work / "run" / "checkpoints")


def until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 100
    while not true():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
