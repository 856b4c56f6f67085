"""Progress lines of a preparation and of a download: how far, how fast, how long it will take."""

from __future__ import annotations

import time
from datetime import timedelta

from ngptlab.terminal import Line


class PrepareProgress(Line):
    """Progress of a preparation. Speeds count this process's work alone, because a resumed one would look too fast."""

    _begun: tuple[float, float, int, int] | None = None

    def tell(self, fraction: float, text_bytes: int, tokens: int) -> None:
        """Called after every batch of documents; shows a line now and then."""
        now = time.monotonic()
        self._begun = self._begun or (now, fraction, text_bytes, tokens)
        if self.due(now):
            self.show(describe_preparation(fraction, text_bytes, tokens, now, self._begun))


def describe_preparation(
    fraction: float, text_bytes: int, tokens: int, now: float, begun: tuple[float, float, int, int]
) -> str:
    """'50%, 112.5 MB, 3.1 MB/s, 700,000 tokens/s, 0:00:36 left'."""
    seconds = max(now - begun[0], 1e-9)
    done = f"{100 * fraction:.0f}%, {text_bytes / 1e6:,.1f} MB"
    if fraction <= begun[1]:
        return done
    speed, token_speed = (text_bytes - begun[2]) / seconds, (tokens - begun[3]) / seconds
    left = timedelta(seconds=round((1 - fraction) * seconds / (fraction - begun[1])))
    return f"{done}, {speed / 1e6:.1f} MB/s, {token_speed:,.0f} tokens/s, {left} left"


class DownloadProgress(Line):
    """Progress of a download. Speeds count the bytes that arrive in this process alone."""

    _begun: tuple[float, int] | None = None

    def tell(self, there: int, total: int) -> None:
        """Called with the bytes that are there and the bytes in all (0: not known); shows a line now and then."""
        now = time.monotonic()
        self._begun = self._begun or (now, there)
        if self.due(now):
            self.show(
                describe_download(there, total, seconds=now - self._begun[0], arrived=there - self._begun[1])
            )


def describe_download(there: int, total: int, *, seconds: float, arrived: int) -> str:
    """'50% of 2,600.0 MB, 31.0 MB/s, 0:00:42 left', or '120.0 MB, 31.0 MB/s' where the total is unknown."""
    done = f"{100 * there / total:.0f}% of {total / 1e6:,.1f} MB" if total else f"{there / 1e6:,.1f} MB"
    if arrived <= 0:
        return done
    speed = arrived / seconds
    done += f", {speed / 1e6:.1f} MB/s"
    return f"{done}, {timedelta(seconds=round((total - there) / speed))} left" if total else done
