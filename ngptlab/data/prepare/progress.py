"""What a person sees of text that becomes shards, and of bytes that arrive: how far, how fast, how long it will take."""

from __future__ import annotations

import time
from datetime import timedelta

from ngptlab.terminal import Line


class PrepareProgress(Line):
    """A preparation. Speeds are over this process's own time, so that a resumed one isn't made to look fast."""

    _begun: tuple[float, float, int, int] | None = None

    def tell(self, share: float, text_bytes: int, tokens: int) -> None:
        """Called after every batch of documents; shows something now and then."""
        now = time.monotonic()
        self._begun = self._begun or (now, share, text_bytes, tokens)
        if self.due(now):
            self.show(describe_preparation(share, text_bytes, tokens, now, self._begun))


def describe_preparation(
    share: float, text_bytes: int, tokens: int, now: float, begun: tuple[float, float, int, int]
) -> str:
    """'50%, 112.5 MB, 3.1 MB/s, 700,000 tokens/s, 0:00:36 left'."""
    seconds = max(now - begun[0], 1e-9)
    done = f"{100 * share:.0f}%, {text_bytes / 1e6:,.1f} MB"
    if share <= begun[1]:
        return done
    speed, token_speed = (text_bytes - begun[2]) / seconds, (tokens - begun[3]) / seconds
    left = timedelta(seconds=round((1 - share) * seconds / (share - begun[1])))
    return f"{done}, {speed / 1e6:.1f} MB/s, {token_speed:,.0f} tokens/s, {left} left"


class DownloadProgress(Line):
    """A download. Speeds are those of this process: what was there before it doesn't count."""

    _begun: tuple[float, int] | None = None

    def tell(self, there: int, total: int) -> None:
        """Called with bytes that are there, and bytes in all, 0 where that isn't known; shows something now and then."""
        now = time.monotonic()
        self._begun = self._begun or (now, there)
        if self.due(now):
            self.show(
                describe_download(there, total, seconds=now - self._begun[0], arrived=there - self._begun[1])
            )


def describe_download(there: int, total: int, *, seconds: float, arrived: int) -> str:
    """'50% of 2,600.0 MB, 31.0 MB/s, 0:00:42 left', or '120.0 MB, 31.0 MB/s' of an unknown whole."""
    said = f"{100 * there / total:.0f}% of {total / 1e6:,.1f} MB" if total else f"{there / 1e6:,.1f} MB"
    if arrived <= 0:
        return said
    speed = arrived / seconds
    said += f", {speed / 1e6:.1f} MB/s"
    return f"{said}, {timedelta(seconds=round((total - there) / speed))} left" if total else said
