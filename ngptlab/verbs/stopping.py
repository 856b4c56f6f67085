"""Exit codes of work that a signal may stop."""

from __future__ import annotations

import sys
from collections.abc import Callable


def until_stopped(work: Callable[[], int | None]) -> int:
    """Do `work`, which may return how many of its runs failed; the exit code, that of the signal where one stopped it."""
    from ngptlab.train.stop import Stopped

    try:
        failed = work()
    except Stopped as stopped:
        print(f"ngptlab: {stopped}; the same command goes on from there", file=sys.stderr)
        return stopped.exit_code
    if not failed:
        return 0
    print(
        f"ngptlab: {failed} run{'s' * (failed > 1)} failed; the table says why. Mend that and give the same command again",
        file=sys.stderr,
    )
    return 1
