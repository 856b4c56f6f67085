"""What a person sees of a long preparation: one line on a terminal, lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from types import TracebackType
from typing import Self


class Progress:
    """Speeds are over this process's own time, so that a resumed preparation isn't made to look fast."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._every_seconds = 0.5 if self._live else 10.0
        self._begun: tuple[float, float, int, int] | None = None
        self._shown = -float("inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._begun:
            print(file=sys.stderr)

    def tell(self, share: float, text_bytes: int, tokens: int) -> None:
        """Called after every batch of documents; shows something now and then."""
        now = time.monotonic()
        if self._begun is None:
            self._begun = now, share, text_bytes, tokens
        if now - self._shown < self._every_seconds:
            return
        self._shown = now
        line = describe(share, text_bytes, tokens, now, self._begun)
        print(
            f"\r{line}\x1b[K" if self._live else line,
            end="" if self._live else "\n",
            file=sys.stderr,
            flush=True,
        )


def describe(
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
