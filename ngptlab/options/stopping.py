"""Exit codes of work that a signal may stop."""

from __future__ import annotations

from collections.abc import Callable

from ngptlab.terminal import remark


def until_stopped(work: Callable[[], int | None]) -> int:
    """Do `work`, which may return how many of its runs failed; the exit code, that of the signal where one stopped it."""
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
