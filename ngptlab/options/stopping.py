"""Exit codes of work that a signal may stop."""

from __future__ import annotations

from collections.abc import Callable

from ngptlab.terminal import remark


def until_stopped(work: Callable[[], int | None]) -> int:
    """Do `work`, which may return how many of its runs failed. Returns the exit code; a signal that stopped it has its own."""
    from ngptlab.train.stop import Stopped

    try:
        failed = work()
    except Stopped as stopped:
        remark(f"ngptlab: {stopped}; the same command goes on from there")
        return stopped.exit_code
    if not failed:
        return 0
    remark(
        f"ngptlab: {failed} run{'s' * (failed > 1)} failed; the table says why. Mend that and give the same command again",
    )
    return 1
