"""What a person sees of bytes that arrive: one line on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from types import TracebackType
from typing import Self


class Arrivals:
    """Speeds are those of this process: what was there before it doesn't count."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._every_seconds = 0.5 if self._live else 10.0
        self._begun: tuple[float, int] | None = None
        self._shown = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._begun:
            print(file=sys.stderr)

    def tell(self, there: int, total: int) -> None:
        """Called with bytes that are there, and bytes in all, 0 where that isn't known; shows something now and then."""
        now = time.monotonic()
        if self._begun is None:
            self._begun = now, there
        elif now - self._shown < self._every_seconds:
            return
        self._shown = now
        line = describe(there, total, seconds=now - self._begun[0], arrived=there - self._begun[1])
        if self._live:
            print(f"\r{line}\x1b[K", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def describe(there: int, total: int, *, seconds: float, arrived: int) -> str:
    """'50% of 2,600.0 MB, 31.0 MB/s, 0:00:42 left', or '120.0 MB, 31.0 MB/s' of an unknown whole."""
    said = f"{100 * there / total:.0f}% of {total / 1e6:,.1f} MB" if total else f"{there / 1e6:,.1f} MB"
    if arrived <= 0:
        return said
    speed = arrived / seconds
    said += f", {speed / 1e6:.1f} MB/s"
    return f"{said}, {timedelta(seconds=round((total - there) / speed))} left" if total else said
