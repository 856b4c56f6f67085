"""The process beside a training run: `python -m ngptlab.tracking TRACKER RUN`. Standard output is a log.

Standard input is a pipe that the training holds open and never writes to. However that ends, the pipe does, and what is
written by then is handed on.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

from ngptlab.runs import Run
from ngptlab.tracking.mirror import mirror
from ngptlab.tracking.sink import open_sink

POLL_SECONDS = 1.0
FINISH_SECONDS = 600
"""After the training's end; a tracker that hangs then is left to the kernel's alarm."""


def main(tracker: str, path: str) -> None:
    """Mirror until the training ends."""
    run = Run(Path(path))
    mirror(run, open_sink(tracker, run), _hung_up)


def _hung_up() -> bool:
    if not select.select([0], [], [], POLL_SECONDS)[0] or os.read(0, 1):
        return False
    signal.alarm(FINISH_SECONDS)
    return True


if __name__ == "__main__":
    main(*sys.argv[1:])
