"""Standard output and error that end no work: a training is worth more than the line that tells of it.

A program's standard error may be a pipe that nobody reads any more, a file on a full disk, a terminal that was closed, or
nothing at all. What can't be told is dropped, and the work goes on.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO, cast


class Unfailing(io.TextIOBase):
    """A text stream that drops what the one beneath can't take; None takes nothing."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding if self._stream else "utf-8"

    def write(self, text: str) -> int:
        if self._stream:
            with contextlib.suppress(OSError):
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self._stream:
            with contextlib.suppress(OSError):
                self._stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def writable(self) -> bool:
        return True


def unfailing_stderr() -> TextIO:
    """Standard error as it is now, and unfailing."""
    return cast("TextIO", sys.stderr if isinstance(sys.stderr, Unfailing) else Unfailing(sys.stderr))


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Make standard error unfailing for as long as a program runs, and put what it lacks of the standard streams in place."""
    open_missing()
    before = sys.stderr
    sys.stderr = unfailing_stderr()
    try:
        yield
    finally:
        sys.stderr = before
        flushed(before)


def flushed(stream: TextIO) -> bool:
    """Hand on what a stream holds. Where that fails it goes nowhere, for at exit it would be tried again, with a complaint."""
    try:
        stream.flush()
        return True
    except OSError:
        discard(stream)
        return False


def discard(stream: TextIO) -> None:
    """Send what a stream holds, and all that it will be given, nowhere."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def open_missing() -> None:
    """Give a program that was started without one of the standard streams one that leads nowhere.

    Otherwise the next file that is opened gets its number, and what a library writes to standard error goes into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null == number:
                os.set_inheritable(null, True)
            else:
                os.dup2(null, number)
                os.close(null)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
