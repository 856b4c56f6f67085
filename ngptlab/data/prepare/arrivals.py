"""What a person sees of bytes that arrive: how many, how fast, and how long it will take."""

from __future__ import annotations

import time
from datetime import timedelta

from ngptlab.data.prepare.progress import Line


class Arrivals(Line):
    """Speeds are those of this process: what was there before it doesn't count."""

    _begun: tuple[float, int] | None = None

    def tell(self, there: int, total: int) -> None:
        """Called with bytes that are there, and bytes in all, 0 where that isn't known; shows something now and then."""
        now = time.monotonic()
        self._begun = self._begun or (now, there)
        if self.due(now):
            self.show(describe(there, total, seconds=now - self._begun[0], arrived=there - self._begun[1]))


def describe(there: int, total: int, *, seconds: float, arrived: int) -> str:
    """'50% of 2,600.0 MB, 31.0 MB/s, 0:00:42 left', or '120.0 MB, 31.0 MB/s' of an unknown whole."""
    said = f"{100 * there / total:.0f}% of {total / 1e6:,.1f} MB" if total else f"{there / 1e6:,.1f} MB"
    if arrived <= 0:
        return said
    speed = arrived / seconds
    said += f", {speed / 1e6:.1f} MB/s"
    return f"{said}, {timedelta(seconds=round((total - there) / speed))} left" if total else said
