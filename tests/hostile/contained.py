"""Something that may do harm, in a process of its own with little memory, little time and a folder that is looked through after.

The process is forked, so torch is imported once for all of them.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MARKER = "EXECUTED"
"""Name of the file that a payload makes where it is run. Its folder is the trial's, above the one that is worked in."""
ADDRESSES = 1 << 30
"""Bytes of addresses that the process may take besides what it begins with; memory that is mapped counts, touched or not."""
MEMORY = 200 << 20
"""Bytes of memory that it may really have taken, besides what it begins with."""
WRITTEN = 64 << 20
"""Bytes of a file that it may write."""
SECONDS = 60.0
"""After which it is killed, on a machine that does much else. Alone it takes tenths of a second."""
BEYOND = 97
"""Exit code of a process that raised what nobody catches."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    """Its exit code; below 0 the number of the signal that ended it."""
    said: str
    """Stdout and stderr."""
    seconds: float
    """Seconds of a core."""
    grown: int
    """Bytes of memory that it took at most, besides what it began with."""


def contained(act: Callable[[], int], folder: Path) -> Ended:
    """Do `act` in a process whose working directory is `folder`; its result is the exit code."""
    log, until = folder.parent / "said", time.monotonic() + SECONDS
    begin, begun = os.pipe()
    sys.stdout.flush(), sys.stderr.flush()
    with warnings.catch_warnings():
        # Of threads, of which this process has none that hold locks.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        _be_contained(act, folder, log, begun)
    os.close(begun)
    with os.fdopen(begin) as told:
        before = int(told.read() or 0)
    status, used = _wait(child, until)
    return Ended(
        code=os.waitstatus_to_exitcode(status),
        said=log.read_bytes().decode("utf-8", "backslashreplace"),
        seconds=used.ru_utime + used.ru_stime,
        grown=(used.ru_maxrss << 10) - before,
    )


def _be_contained(act: Callable[[], int], folder: Path, log: Path, begun: int) -> None:
    code = BEYOND
    try:
        os.setsid()  # so that what it starts can be ended with it
        os.chdir(folder)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(said, stream)
        # pytest captures by streams of its own.
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        addresses, memory = (int(pages) * resource.getpagesize() for pages in _pages()[:2])
        resource.setrlimit(resource.RLIMIT_AS, (addresses + ADDRESSES,) * 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (WRITTEN,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        os.write(begun, str(memory).encode())
        os.close(begun)
        code = act()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _pages() -> list[str]:
    return Path("/proc/self/statm").read_text().split()


def _wait(child: int, until: float) -> tuple[int, resource.struct_rusage]:
    """Status of a child and what it used, which is killed at a time of `time.monotonic`."""
    while True:
        ended, status, used = os.wait4(child, os.WNOHANG)
        if ended:
            return status, used
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            _, status, used = os.wait4(child, 0)
            return status, used
        time.sleep(0.005)
