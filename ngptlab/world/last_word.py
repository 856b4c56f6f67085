"""One message for all processes of a run, whoever has it, because a reader of eight equal lines looks for the one that differs.

The process that first knows why the run ends says so. The first process has precedence: where all meet the same error, a line
without a number is enough. What the others then meet, lost connections, is not said any more.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

from ngptlab.terminal import aloud
from ngptlab.world.launched import Launched

PRECEDENCE_SECONDS = 1.0
"""How long the others wait for the first process's message."""
PATIENCE_SECONDS = 4.0
"""How long a process tries to reach the store; it may be gone with the process that held it."""
MEETING_SECONDS = 30.0
"""How long it waits for processes that have only begun, whose imports may take their time."""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a launcher may send to a process that is ending already."""
SAID, ENDED = "said", "ended"


def last_word(here: Launched) -> Callable[[str], None]:
    """What tells the message that ends this process, unless another process has told one."""

    def tell(message: str) -> None:
        if here.size > 1 and threading.current_thread() is threading.main_thread():
            for number in ENDING:
                signal.signal(
                    number, signal.SIG_IGN
                )  # a launcher ends all once one has ended, and this one is about to
        if here.size == 1 or _is_ours(here):
            aloud(message if here.rank == 0 else f"[process {here.rank}] {message}")
        if here.size > 1:
            _within(PATIENCE_SECONDS, lambda: _leave(here), otherwise=True)

    return tell


def _is_ours(here: Launched) -> bool:
    """Whether nobody has said anything. Where nobody can be asked, the first two say it, as one of them may be gone."""
    return _within(MEETING_SECONDS, lambda: _first_to_say(here), otherwise=here.rank < 2)


def _first_to_say(here: Launched) -> bool:
    from ngptlab.world.meeting import store_of

    store = store_of(here, MEETING_SECONDS)
    until = time.monotonic() + (PRECEDENCE_SECONDS if here.rank else 0.0)
    while time.monotonic() < until and not store.check([SAID]):
        time.sleep(0.05)
    return bool(store.add(SAID, 1) == 1)


def _leave(here: Launched) -> bool:
    """The first process may hold the store, so it stays until the others have asked."""
    from ngptlab.world.meeting import store_of

    store = store_of(here, MEETING_SECONDS)
    ended, until = store.add(ENDED, 1), time.monotonic() + PATIENCE_SECONDS / 2
    while here.rank == 0 and ended < here.size and time.monotonic() < until:
        time.sleep(0.05)
        ended = store.add(ENDED, 0)
    return True


def _within(seconds: float, act: Callable[[], bool], *, otherwise: bool) -> bool:
    """What `act` gives; `otherwise` where it fails or takes longer. A store's answer may never come, whatever its timeout."""
    given: list[bool] = []

    def work() -> None:
        try:
            given.append(act())
        except Exception:  # the end of the process is under way, and its message matters more
            given.append(otherwise)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return given[0] if given else otherwise
