"""How far an evaluation that takes minutes is: a line now and then on stderr, on a terminal and in a log alike."""

from __future__ import annotations

import sys
import time

TELL_SECONDS = 10.0


class Progress:
    """Of one run, through what it begins one after the other."""

    def __init__(self, run: str) -> None:
        self._run, self._what = run, ""
        self._begun = self._told = time.monotonic()

    def begin(self, what: str) -> None:
        """Name what is read from now on."""
        self._what = what
        self._begun = time.monotonic()

    def tell(self, done: int, all_tokens: int) -> None:
        """Called after every piece with the tokens read since `begin`; a line when it is time, and at the end."""
        now = time.monotonic()
        if now - self._told < TELL_SECONDS and done < all_tokens:
            return
        self._told = now
        left = (now - self._begun) * (all_tokens / done - 1)
        self.note(f"{self._what}  {done:,} of {all_tokens:,} tokens  {left:.0f} s left")

    def note(self, text: str) -> None:
        """A line of its own."""
        print(f"{self._run}: {text}", file=sys.stderr, flush=True)
