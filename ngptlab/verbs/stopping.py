"""Exit codes of work that a signal may stop."""

from __future__ import annotations

import sys
from collections.abc import Callable


def until_stopped(work: Callable[[], None]) -> int:
    """Do `work`; the exit code, that of the signal where one stopped it."""
    from ngptlab.train.stop import Stopped

    try:
        work()
    except Stopped as stopped:
        print(f"ngptlab: {stopped}; the same command goes on from there", file=sys.stderr)
        return stopped.exit_code
    return 0
