"""One cell in a process of its own: `python -m ngptlab.jobs.worker CONFIG RUN`. Exit codes are those of `ngptlab train`.

With more pairs of CONFIG RUN, the cells are one stack; an error in one of them is in its summary.

Its standard input is a pipe that the sweep holds open and never writes to. However the sweep dies, the pipe ends. The worker
then saves and stops, so that no process trains on unnoticed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from ngptlab.errors import CheckpointError, DivergedError, LabError
from ngptlab.experiment import train
from ngptlab.jobs.cell_log import NOTE
from ngptlab.method_files.copies import load_config
from ngptlab.method_files.running import blaming
from ngptlab.output import guarded
from ngptlab.runs import Run
from ngptlab.stack import train as stack
from ngptlab.terminal import any_text, one_line, remark
from ngptlab.train.progress import Silent
from ngptlab.train.stop import Stopped

PATIENCE_SECONDS = 120.0
"""How long a worker waits for a killed sweep's worker to save and to unlock the run."""


@any_text()
@guarded()  # its log may be on a full disk while the cell is on another one
def main(*paths: str) -> int:
    """Train the cell or the stack; returns the exit code."""
    threading.Thread(target=_stop_with_the_sweep, daemon=True).start()
    try:
        jobs = [
            (load_config(Path(config)), Path(run))
            for config, run in zip(paths[::2], paths[1::2], strict=True)
        ]
        for _, run_path in jobs:
            wait_for(run_path)
        with blaming():
            if len(jobs) > 1:
                stack.train(jobs, reporter=_Notes())
            else:
                train(*jobs[0], reporter=_Notes())
    except Stopped as stopped:
        remark(f"ngptlab: {stopped}")
        return stopped.exit_code
    except LabError as error:
        remark(one_line(f"ngptlab: {error}"))
        return 1 if isinstance(error, DivergedError) else 2
    return 0


class _Notes(Silent):
    """Writes notes of a cell, or of a stack's, to the log, marked, so that none is taken for the reason why it broke off."""

    def note(self, text: str) -> None:
        remark(one_line(NOTE + text))


def wait_for(run_path: Path, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until no process has locked the run, or until patience ends; training then names the one that has."""
    end = time.monotonic() + patience_seconds
    while (run_path / "config.json").exists() and time.monotonic() < end:
        try:
            with Run(run_path).lock():
                return
        except CheckpointError:
            time.sleep(0.2)


def _stop_with_the_sweep() -> None:
    # os.read, not sys.stdin: a daemon thread inside a buffered reader breaks the interpreter's shutdown.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
