"""Progress of an evaluation that reads for minutes: one updated line on a terminal, a new line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from ngptlab.measure.labels import labels
from ngptlab.terminal import Line, one_line, remark

if TYPE_CHECKING:
    from ngptlab.measure.trained import Trained


def one_by_one(models: Sequence[Trained], what: str) -> Iterator[tuple[str, Trained]]:
    """Each model under its label; a line says which is measured, in a log too."""
    for number, (label, trained) in enumerate(zip(labels(models), models, strict=True), start=1):
        remark(one_line(f"{what} of {label} ({number} of {len(models)})"), flush=True)
        yield label, trained


class Progress(Line):
    """Progress of one run's evaluation, through one reading after the other."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self._run, self._what, self._begun = run, "", time.monotonic()

    def begin(self, what: str) -> None:
        """Start a reading and name it."""
        self._what, self._begun = what, time.monotonic()

    def tell(self, done: int, all_tokens: int) -> None:
        """Take the tokens read since `begin`, after every piece; show a line now and then, and at the end."""
        now = time.monotonic()
        if self.due(now) or done == all_tokens:
            left = timedelta(seconds=round((now - self._begun) * (all_tokens / done - 1)))
            self.show(f"{self._run}: {self._what}, {done:,} of {all_tokens:,} tokens, {left} left")
