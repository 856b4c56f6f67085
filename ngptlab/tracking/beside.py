"""The mirror of a run in training: a process beside it, that may fail or hang as it likes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ngptlab.runs import Run

PATIENCE_SECONDS = 30.0
"""How long a finished run waits for its tracker; after that the tracker goes on alone."""
LOG = "tracking.log"


class Beside:
    """The tracker's process: begun by `start`, told of the end on leaving. `note` hears of a failure, once."""

    def __init__(self, tracker: str, run: Run, note: Callable[[str], None]) -> None:
        self.tracker, self.run, self.note = tracker, run, note
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting = threading.Thread(target=self._wait, daemon=True)

    def __enter__(self) -> Self:
        return self

    def start(self) -> None:
        """Begin, where there is a tracker. Whatever goes wrong is a note."""
        if self.tracker == "off":
            return
        try:
            with (self.run.path / LOG).open("wb") as log:
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._waiting.join(PATIENCE_SECONDS)
        if self._waiting.is_alive():
            self.note(f"{self.tracker} is still busy; it goes on by itself for at most ten minutes")

    def _wait(self) -> None:
        assert self._process is not None
        if self._process.wait():
            lines = (self.run.path / LOG).read_text("utf-8", errors="replace").split("\n")
            self._failed(next((line.strip() for line in reversed(lines) if line.strip()), "no word of it"))

    def _failed(self, why: str) -> None:
        self.note(
            f"{self.tracker} failed ({why[:200]}); training goes on. `ngptlab track {self.run.path} --to {self.tracker}` "
            f"hands on what is missing; more in {LOG}"
        )
