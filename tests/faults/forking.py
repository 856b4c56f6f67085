"""Children forked from a process that has torch and has computed nothing yet: they are killed, signalled and left without room.

A fresh process takes seconds to begin. A forked one takes some hundredths, so thousands of trials are possible. What is wrong at
the import of a module alone can't be seen so; `cli_kills` has fresh processes for that.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
torch.set_num_threads(
    1
)  # before any operation: a child of a process with a pool of threads would wait for them for ever

from ngptlab.cli import main  # noqa: E402
from ngptlab.config import RunConfig, dump  # noqa: E402
from ngptlab.train.stop import STOPS  # noqa: E402
from tiny import tiny_config, write_texts  # noqa: E402

CRASHED = 99
"""Exit code of a child whose work raised what nobody caught."""
METHODS = ("gpt", "ngpt", "ema")
"""One that records scales, and one that keeps more than moments in its optimizer."""


@dataclass
class Tally:
    """How many trials of a kind were done, what went wrong in them, and what else was counted."""

    kind: str
    done: int = 0
    wrong: list[str] = field(default_factory=list)
    facts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, problem: str, *facts: str) -> None:
        """One more trial; `problem` is empty where all was well."""
        self.done += 1
        self.facts.update(facts)
        if problem:
            self.wrong.append(problem)


@dataclass(frozen=True)
class Child:
    """A forked process, and the file that has what it says."""

    pid: int
    log: Path

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float = 600.0) -> int:
        """Its exit code; minus the number of the signal that killed it.

        Raises:
            TimeoutError: it has not ended in time, and was killed.
        """
        until = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                ALIVE.discard(pid)
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > until:
                self.send(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                ALIVE.discard(self.pid)
                raise TimeoutError(f"a child still ran after {seconds:g} s; {self.told}")
            time.sleep(0.002)

    @property
    def told(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @property
    def last_word(self) -> str:
        return (self.told.strip().splitlines() or [""])[-1]


ALIVE: set[int] = set()


@atexit.register
def _end_all() -> None:
    """Children of a trial that failed, or was stopped, would train on."""
    for pid in ALIVE:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def start(work: Callable[[], int], log: Path) -> Child:
    """Fork a child that does `work` and exits with what that returns."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of threads, which this process has none of its own
        # A signal right after the fork would make the child end what its parent does: it removed the trials' folder.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        ALIVE.add(pid)
        return Child(pid, log)
    code = CRASHED
    try:
        for number in STOPS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(descriptor, 1), os.dup2(descriptor, 2)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        code = work()
        sys.stdout.flush(), sys.stderr.flush()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        with contextlib.suppress(BaseException):
            os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def begin(folder: Path) -> None:
    """Make texts and a cache in a new folder, and import what a training imports late, so that no child does it again."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "texts").exists():
        write_texts(folder / "texts")
    os.environ["NGPTLAB_CACHE"] = str(folder / "cache")
    os.environ["COLUMNS"] = "300"
    config, names = Lab(folder).config("gpt", train={"steps": 4}), folder / "modules"

    def look() -> int:
        code = main(["train", str(config), "--out", str(folder / "warm")])
        names.write_text("\n".join(sys.modules))
        return code

    child = start(look, folder / "warm.log")
    assert child.wait() == 0, child.told
    shutil.rmtree(folder / "warm")
    for name in names.read_text().splitlines():
        if name not in sys.modules and name.partition(".")[0] in (
            "ngptlab",
            "torch",
            "numpy",
            "pydantic",
            "rich",
        ):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


@dataclass(frozen=True)
class Lab:
    """A folder of trials: configs, logs and runs."""

    folder: Path

    def config(self, method: str, **changes: object) -> Path:
        """The file of a config of some tenths of a second."""
        fields = {"train": {"steps": 12}, "checkpoint": {"every": 3}, "eval": {"every": 4}}
        fields |= changes  # type: ignore[arg-type]
        made: RunConfig = tiny_config(self.folder / "texts", method, **fields)
        path = (
            self.folder
            / "configs"
            / f"{method}-{made.hash}-{abs(hash(str(sorted(fields.items())))) % 10**9}.json"
        )
        path.parent.mkdir(exist_ok=True)
        path.write_text(dump(made))
        return path

    def train(self, config: Path, out: Path, *more: str, slow: float = 0.0) -> Child:
        """Begin a training, or go on with it; each wait for the disk takes `slow` seconds longer than it does."""

        def work() -> int:
            fsync = os.fsync
            if slow:
                os.fsync = lambda file: (time.sleep(slow), fsync(file))[1]
            return main(["train", str(config), "--out", str(out), *more])

        return start(work, out.with_name(f"{out.name}.log"))

    @contextlib.contextmanager
    def place(self, name: str) -> Iterator[Path]:
        """A path for a run, which is removed if all was well; what went wrong stays to be looked at."""
        path = self.folder / "trials" / name
        path.parent.mkdir(exist_ok=True)
        shutil.rmtree(path, ignore_errors=True)
        yield path
        shutil.rmtree(path, ignore_errors=True)
        path.with_name(f"{name}.log").unlink(missing_ok=True)

    def straight(self, config: Path) -> tuple[dict[str, bytes], float]:
        """What an uninterrupted training leaves, and its seconds."""
        path = self.folder / "straight" / config.stem
        path.parent.mkdir(exist_ok=True)
        began = time.monotonic()
        child = self.train(config, path)
        assert child.wait() == 0, child.told
        return outcome(path), time.monotonic() - began


def outcome(run: Path) -> dict[str, bytes]:
    """The bytes in which a run that was interrupted must equal one that was not; a sign of each hidden file besides."""
    newest = sorted(run.glob("checkpoints/step_*"))[-1]  # which others there are is up to where it stopped
    found = {
        str(path.relative_to(run)): path.read_bytes()
        for path in [*newest.glob("*.safetensors"), *run.glob("*.jsonl")]
        if path.name != "timing.jsonl"
    }
    hidden = {path.name: b"hidden" for path in run.rglob(".*") if path.name.endswith(".tmp")}
    return {**found, **hidden}


def difference(found: dict[str, bytes], wanted: dict[str, bytes]) -> str:
    """Names of what differs; empty where nothing does."""
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    return f"differs in {', '.join(names)}" if names else ""
