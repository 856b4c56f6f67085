"""A process beside a training run that mirrors it to a tracker. It may fail or hang, and the training goes on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ngptlab import disk
from ngptlab.disk import create
from ngptlab.runs import Run
from ngptlab.tracking.limits import one_line
from ngptlab.tracking.sink import check_installed

PATIENCE_SECONDS = 30.0
"""How long a finished run waits for its tracker; after that the tracker goes on alone."""
LOG = "tracking.log"
FAILED = "ngptlab: failed: "
"""Begins the line of the log that says why the tracker failed."""
SHOWN = 300
"""Characters of that line which a note repeats."""


class TrackerProcess:
    """The tracker's process. `start` begins it, and `hang_up` tells it that the run is over.

    Leaving the `with` block hangs up too, and waits for the process. `note` is told of a failure, once.
    """

    def __init__(self, tracker: str, run: Run, note: Callable[[str], None]) -> None:
        self.tracker, self.run, self.note = tracker, run, note
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting = threading.Thread(target=self._wait, daemon=True)
        self._patient_until: float | None = None
        self.finished = False
        """Whether the tracker said that it has all there is."""

    def __enter__(self) -> Self:
        return self

    def start(self) -> None:
        """Begin the process where there is a tracker. Whatever goes wrong becomes a note."""
        if self.tracker == "off":
            return
        try:
            with create(self.run.path / LOG) as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "ngptlab.tracking", self.tracker, str(self.run.path)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    # Ctrl-C goes to a terminal's whole group; only the training shall hear it.
                    start_new_session=True,
                )
        except OSError as error:
            self._failed(str(error))
            return
        self._waiting.start()

    def hang_up(self) -> None:
        """Tell the tracker that no more lines come. The patience of `__exit__` begins here."""
        if self._process is None or self._patient_until is not None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._patient_until = time.monotonic() + PATIENCE_SECONDS

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hang_up()
        if self._patient_until is None or isinstance(
            error, KeyboardInterrupt
        ):  # a user who quits at once doesn't wait
            return
        self._waiting.join(max(0.0, self._patient_until - time.monotonic()))
        if self._waiting.is_alive():
            self.note(f"{self.tracker} is still busy; it goes on by itself for at most ten minutes")

    def _wait(self) -> None:
        assert self._process is not None
        code = self._process.wait()
        self.finished = code == 0
        if code:
            try:
                lines = disk.read_end(self.run.path / LOG).split("\n")
            except OSError as error:
                lines = [str(error)]
            self._failed(_why(lines))

    def _failed(self, why: str) -> None:
        self.note(
            f"{self.tracker} failed ({why[:SHOWN]}); training goes on. `ngptlab track {self.run.path} --to {self.tracker}` "
            f"hands on what is missing; more in {LOG}"
        )


def hand_on(tracker: str, run: Run, note: Callable[[str], None]) -> None:
    """Give a tracker what it lacks of a finished run, as the one beside a training does.

    Raises:
        ConfigError: the tracker's package is not installed.
    """
    check_installed(tracker)
    with TrackerProcess(tracker, run, note) as process:
        process.start()
    if process.finished:
        note(f"{tracker} has all of {run.path}")


def _why(lines: list[str]) -> str:
    """Why a process failed: the marked line of its log, or the last line where a kill came before it could write that one."""
    said = [line for line in map(one_line, lines) if line] or ["no word of it"]
    return next((line.removeprefix(FAILED) for line in said if line.startswith(FAILED)), said[-1])
