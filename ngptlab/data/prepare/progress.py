"""What a person sees of long work: one line on a terminal, lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from types import TracebackType
from typing import Self

from ngptlab.terminal import remark, rewrite


class Line:
    """Says on stderr how far something is; `due` says when. A context manager, which ends the line."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._every_seconds = 0.5 if self._live else 10.0
        self._shown = -float("inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._shown > -float("inf"):
            remark("")

    def due(self, now: float) -> bool:
        """Whether it is time for another line, at first and then every so often. `now` is of `time.monotonic`."""
        if now - self._shown < self._every_seconds:
            return False
        self._shown = now
        return True

    def show(self, line: str) -> None:
        """Replace the line on a terminal; elsewhere add one."""
        if self._live:
            rewrite(line)
        else:
            remark(line, flush=True)

    def note(self, line: str) -> None:
        """Say something that stays, above the line."""
        if self._live and self._shown > -float("inf"):
            rewrite("")
        remark(line, flush=True)


class Progress(Line):
    """A preparation. Speeds are over this process's own time, so that a resumed one isn't made to look fast."""

    _begun: tuple[float, float, int, int] | None = None

    def tell(self, share: float, text_bytes: int, tokens: int) -> None:
        """Called after every batch of documents; shows something now and then."""
        now = time.monotonic()
        self._begun = self._begun or (now, share, text_bytes, tokens)
        if self.due(now):
            self.show(describe(share, text_bytes, tokens, now, self._begun))


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
