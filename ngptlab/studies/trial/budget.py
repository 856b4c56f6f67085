"""A budget of time: a run is not started where one as long as the longest so far would exceed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class Spent(Exception):
    """There is no time for what a verdict needs."""


@dataclass(kw_only=True)
class Budget:
    """Time that is left. What a run takes is estimated before any, then learned: a machine may have other work by now."""

    seconds: float
    clock: Callable[[], float]
    begun: float
    run_seconds: float = 0.0
    """What the longest run took, or is expected to. 0: not known; then one is started, and says it."""

    @property
    def used(self) -> float:
        """Seconds since it began."""
        return self.clock() - self.begun

    def holds(self, runs: int) -> bool:
        """Whether so many runs, one after the other, would end within it."""
        return self.used + runs * self.run_seconds <= self.seconds

    def took(self, runs: int, seconds: float) -> None:
        """Learn from so many runs that were trained together."""
        self.run_seconds = max(self.run_seconds, seconds / runs)
