"""The process beside a training run: `python -m ngptlab.tracking TRACKER RUN`. Standard output is a log.

Standard input is a pipe that the training holds open and never writes to. However that ends, the pipe does, and what is
written by then is handed on. A thread listens for it: a tracker that hangs, whatever it is at, must not outlive the training
for good. The line of the log that says why it failed is marked, because a tracker may go on talking after it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from pathlib import Path

from ngptlab.runs import Run
from ngptlab.terminal import any_text, remark
from ngptlab.tracking.beside import FAILED
from ngptlab.tracking.limits import reason
from ngptlab.tracking.mirror import alone, mirror
from ngptlab.tracking.sink import open_sink

POLL_SECONDS = 1.0
FINISH_SECONDS = 600
"""After the training's end; a tracker that hangs then is left to the kernel's alarm."""


@any_text()
def main(tracker: str, path: str) -> None:
    """Mirror until the training ends."""
    ended = threading.Event()
    threading.Thread(target=_listen, args=(ended,), daemon=True).start()
    run = Run(Path(path))
    try:
        with alone(run, tracker, wait=True):
            mirror(run, open_sink(tracker, run), lambda: ended.wait(POLL_SECONDS))
    except Exception as error:  # a tracker's library raises what it likes
        traceback.print_exc()
        remark(f"{FAILED}{reason(error)}", flush=True)
        sys.exit(1)


def _listen(ended: threading.Event) -> None:
    while os.read(0, 1):
        pass
    signal.alarm(FINISH_SECONDS)
    ended.set()


if __name__ == "__main__":
    main(*sys.argv[1:])
