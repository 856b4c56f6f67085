"""What is handed to a tracker, and that a tracker can do no harm. Needs none: the one that fails stands in for any."""

from __future__ import annotations

import contextlib
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

from made_runs import config_of, val
from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError
from ngptlab.experiment import train
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.local import Local, prepare
from ngptlab.runs import Run
from ngptlab.tracking import tracker_process
from ngptlab.tracking.mirror import alone, mirror
from ngptlab.tracking.sink import check_installed
from ngptlab.tracking.steps import Steps, numbers
from ngptlab.tracking.tracker_process import TrackerProcess
from ngptlab.train.progress import Silent
from ngptlab.train.stop import StopRequest

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


@pytest.fixture
def make_fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Installs a package of trackio's name, here and for processes begun from here."""

    def make(body: str) -> None:
        fake = tmp_path / "fake"
        (fake / "trackio-9.9.dist-info").mkdir(parents=True)
        (fake / "trackio-9.9.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: trackio\nVersion: 9.9\n"
        )
        (fake / "trackio.py").write_text(body)
        monkeypatch.syspath_prepend(str(fake))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(fake), os.environ.get("PYTHONPATH", "")]))

    return make


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
    run.rewind({"metrics": run.content("metrics").index(b"\n") + 1})
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
    assert (
        numbers("evals", {"step": 9, "eval": "parts", "of": "document", "tokens": [4], "loss_nats": [2.0]})
        == {}
    )
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
    tmp_path: Path, make_config: MakeConfig, make_fake: Callable[[str], None], body: str, outcome: Any
) -> None:
    plain = train(make_config(), tmp_path / "plain")
    make_fake(body)
    told = Notes()
    tracked = train(make_config(track="trackio"), tmp_path / "tracked", reporter=told)
    assert tracked.done and outcome(tracked.path) == outcome(plain.path)
    (failure,) = [line for line in told.lines if "trackio" in line]
    assert "quota is used up" in failure and "training goes on" in failure and "ngptlab track " in failure


def test_the_note_has_the_reason_whatever_is_said_after_it(
    tmp_path: Path,
    make_config: MakeConfig,
    make_fake: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """pydantic's errors end with the address of a page about pydantic, and wandb takes its leave when its process ends."""
    make_fake(
        "import atexit, typing, pydantic\n"
        "class Settings(pydantic.BaseModel):\n"
        "    run_tags: typing.Annotated[str, pydantic.Field(max_length=3)]\n"
        "atexit.register(print, 'wandb: find logs at nowhere')\n"
        "def init(**_):\n"
        "    Settings(run_tags='long')\n"
    )
    told = Notes()
    train(make_config(track="trackio"), tmp_path / "run", reporter=told)
    (failure,) = [line for line in told.lines if "trackio" in line]
    why = "trackio failed (ValidationError: run_tags: String should have at most 3 characters)"
    assert why in failure and "Traceback" in (tmp_path / "run" / "tracking.log").read_text()
    assert main(["track", str(tmp_path / "run"), "--to", "trackio"]) == 2
    assert why in capsys.readouterr().err


WORKS = """
import sys
class Steps:
    _next_step = 0
    def log(self, numbers, step): open(sys.argv[-1] + "/seen", "a").write(f"{step}\\n")
    def finish(self): pass
def init(**_): return Steps()
"""
"""A trackio that keeps nothing but the steps it was given, in the run's folder."""


def test_a_finished_run_is_handed_on_by_the_same_command(
    tmp_path: Path, make_config: MakeConfig, make_fake: Callable[[str], None]
) -> None:
    make_fake(WORKS)
    run, told = train(make_config(), tmp_path / "run"), Notes()
    assert train(make_config(track="trackio"), run.path, reporter=told).done
    assert told.lines == [f"already done in {run.path}", f"trackio has all of {run.path}"]
    assert [int(line) for line in (run.path / "seen").read_text().split()][:9] == list(range(9))
    # A study's cells, too, which nobody trains again.
    cell = Cell(make_config(track="trackio"))
    done = train(cell.config, run_of(tmp_path / "out", cell))
    (done.path / "seen").unlink()
    assert Local().train([cell], tmp_path / "out", StopRequest()) == {}
    assert (done.path / "seen").exists()


def test_a_tracker_that_fails_on_a_finished_run_has_not_all_of_it(
    tmp_path: Path, make_config: MakeConfig, make_fake: Callable[[str], None]
) -> None:
    make_fake("raise RuntimeError('quota is used up')")
    run, told = train(make_config(), tmp_path / "run"), Notes()
    train(make_config(track="trackio"), run.path, reporter=told)
    assert len(told.lines) == 2 and "quota is used up" in told.lines[1]


@pytest.fixture
def hung(tmp_path: Path, make_fake: Callable[[str], None]) -> Iterator[Path]:
    """A tracker that hangs; the fixture is the file where its processes write their numbers."""
    file = tmp_path / "process"
    make_fake(f"import os, time\nopen({str(file)!r}, 'a').write(f'{{os.getpid()}}\\n')\ntime.sleep(600)")
    yield file
    for process in file.read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)


def test_a_tracker_that_hangs_is_waited_for_so_long_and_changes_nothing(
    tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, hung: Path, outcome: Any
) -> None:
    plain = train(make_config(), tmp_path / "plain")
    monkeypatch.setattr(tracker_process, "PATIENCE_SECONDS", 1.5)
    told = Notes()
    tracked = train(make_config(track="trackio"), tmp_path / "tracked", reporter=told)
    assert tracked.done and outcome(tracked.path) == outcome(plain.path)
    assert [line for line in told.lines if "trackio" in line] == [
        "trackio is still busy; it goes on by itself for at most ten minutes"
    ]
    os.kill(int(until(hung.read_text)), 0)  # it does


def test_several_trackers_that_hang_are_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hung: Path
) -> None:
    monkeypatch.setattr(tracker_process, "PATIENCE_SECONDS", 1.5)
    told = Notes()
    runs = [Run.open(tmp_path / name, config_of("gpt")) for name in "ab"]
    with contextlib.ExitStack() as held:
        both = [held.enter_context(TrackerProcess("trackio", run, told.note)) for run in runs]
        for one in both:
            one.start()
            held.callback(one.hang_up)
        until(lambda: hung.read_text() if hung.read_text().count("\n") == 2 else "")
        began = time.monotonic()
    assert 1.5 <= time.monotonic() - began < 2.5 and len(told.lines) == 2


def test_who_quits_at_once_waits_for_no_tracker(tmp_path: Path, hung: Path) -> None:
    run = Run.open(tmp_path / "run", config_of("gpt"))
    with pytest.raises(KeyboardInterrupt), TrackerProcess("trackio", run, print) as tracker:
        tracker.start()
        until(hung.read_text)
        began = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - began < tracker_process.PATIENCE_SECONDS / 4


def test_signals_end_the_wait_for_a_tracker(tmp_path: Path, make_config: MakeConfig, hung: Path) -> None:
    """They are not swallowed: who gives the next run after this one hears of them, too."""

    class Late(Silent):
        def note(self, text: str) -> None:
            if "documents" in text:  # the last evaluation
                until(hung.read_text)
                threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        train(make_config(track="trackio"), tmp_path / "run", reporter=Late())
    assert Run(tmp_path / "run").done and time.monotonic() - began < tracker_process.PATIENCE_SECONDS / 2


def test_a_tracker_that_hung_before_the_end_does_not_outlive_it_for_good(tmp_path: Path, hung: Path) -> None:
    run = Run.open(tmp_path / "run", config_of("gpt"))
    main = "import sys, ngptlab.tracking.__main__ as m; m.FINISH_SECONDS = 1; m.main(*sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", main, "trackio", str(run.path)], stdin=subprocess.PIPE)
    assert int(until(hung.read_text)) == process.pid and process.poll() is None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(60) == -signal.SIGALRM


def test_a_run_has_one_mirror_a_tracker(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", config_of("gpt"))
    with (
        alone(run, "trackio", wait=True),
        alone(run, "wandb", wait=False),
        pytest.raises(ConfigError, match="still handing it on to trackio"),
        alone(run, "trackio", wait=False),
    ):
        raise AssertionError
    with alone(run, "trackio", wait=False):
        pass


def test_the_mirror_needs_no_torch() -> None:
    loaded = "import sys, ngptlab.tracking.__main__; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True).stdout == b"False\n"


def until(read: Callable[[], str]) -> str:
    """What it gives once it gives something."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if text := read():
                return text
        time.sleep(0.02)
    raise AssertionError("nothing came")
