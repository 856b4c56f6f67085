"""The process beside a training run: `python -m ngptlab.tracking TRACKER RUN`. Standard output is a log.

Standard input is a pipe that the training holds open and never writes to. However the training ends, the pipe closes, and
what was written by then is handed on. A thread waits for that, because a tracker that hangs must not outlive the training
for good. The line of the log that says why it failed is marked, because a tracker may go on talking after it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType

from ngptlab.errors import without_secrets
from ngptlab.runs import Run
from ngptlab.terminal import any_text, remark, say
from ngptlab.tracking.limits import reason
from ngptlab.tracking.mirror import alone, mirror
from ngptlab.tracking.sink import open_sink
from ngptlab.tracking.tracker_process import FAILED

POLL_SECONDS = 1.0
FINISH_SECONDS = 600
"""How long this process may go on after the training's end. Then the kernel's alarm ends a tracker that hangs."""


@any_text()
def main(tracker: str, path: str) -> None:
    """Mirror until the training ends."""
    ended, ending = threading.Event(), _EndingSignal()
    threading.Thread(target=_listen, args=(ended,), daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        if signal.getsignal(number) is signal.SIG_DFL:  # a scheduler sends them to every process of a job
            signal.signal(number, ending.note)
    run = Run(Path(path))
    try:
        with alone(run, tracker, wait=True):
            mirror(
                run, open_sink(tracker, run), lambda: ended.wait(POLL_SECONDS) or ending.number is not None
            )
    except Exception as error:  # a tracker's library raises what it likes
        remark(without_secrets(traceback.format_exc()))
        remark(f"{FAILED}{reason(error)}", flush=True)
        sys.exit(1)
    if ending.number is not None:
        say(f"stopped by {signal.Signals(ending.number).name}, and handed on what was there")
        sys.exit(128 + ending.number)


class _EndingSignal:
    """Whether a signal asked for an end. Its handler sets no `Event`, whose lock the main thread may hold at that moment."""

    number: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        signal.signal(number, signal.SIG_DFL)  # a second one ends a tracker that hangs


def _listen(ended: threading.Event) -> None:
    while os.read(0, 1):
        pass
    signal.alarm(FINISH_SECONDS)
    ended.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
