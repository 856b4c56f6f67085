"""Costs of training: tokens and operations as counted, seconds as the runs recorded them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from typing_extensions import TypedDict

from ngptlab.stats import estimates as stats
from ngptlab.stats import series
from ngptlab.stats.records import RunRecord, steady_seconds

Measure = Literal["tokens", "step", "seconds", "flops"]


class Cost(TypedDict):
    """What each run of an arm has cost after `step`."""

    step: int
    """Finished optimizer steps."""
    tokens: int
    flops: int
    """Operations as the runs counted them (`ngptlab/nn/cost.py`)."""
    seconds: float | None
    """Time in training steps, mean over the seeds; None where a run did not record each of its steps."""


class CostBetween(TypedDict):
    """What each run of an arm has cost at a point between two steps."""

    step: float
    tokens: float
    flops: float
    seconds: float | None


class Meter:
    """Costs of the runs of one arm after any of their steps. Sizes are read from the first run."""

    def __init__(self, arm: Sequence[RunRecord]) -> None:
        self._tokens_before = arm[0].config.train.tokens_before
        self._token_flops = arm[0].flops_per_token
        clocks = [elapsed(run) for run in arm]
        self._clocks = [clock for clock in clocks if clock is not None]
        self.has_seconds = len(self._clocks) == len(arm)

    def at(self, step: int) -> Cost:
        """The cost after `step` finished steps. Every run must have that many."""
        tokens = self._tokens_before(step)
        seconds = stats.mean([float(clock[step]) for clock in self._clocks]) if self.has_seconds else None
        return {"step": step, "tokens": tokens, "flops": tokens * self._token_flops, "seconds": seconds}

    def between(self, step: float) -> CostBetween:
        """The cost after so many steps; a fraction of a step costs that fraction of its cost."""
        low, fraction = int(step), step - int(step)
        before, after = self.at(low), self.at(low + 1) if fraction else self.at(low)

        def mixed(a: float, b: float) -> float:
            return a + fraction * (b - a)

        seconds = (before["seconds"], after["seconds"])
        return {
            "step": step,
            "tokens": mixed(before["tokens"], after["tokens"]),
            "flops": mixed(before["flops"], after["flops"]),
            "seconds": None if seconds[0] is None or seconds[1] is None else mixed(seconds[0], seconds[1]),
        }


def elapsed(run: RunRecord) -> np.ndarray | None:
    """Seconds in training steps after 0, 1, 2, ... steps; None where a step's time is missing."""
    if [row.step for row in run.timing] != list(range(1, run.config.train.steps + 1)):
        return None
    return np.cumsum([0.0, *(row.step_seconds for row in run.timing)])


def token_seconds(arm: Sequence[RunRecord]) -> float | None:
    """Median seconds per token over the steady steps; None where step times are not recorded."""
    median, _ = series.median_iqr(steady_seconds(arm))
    return median / arm[0].config.train.step_tokens if median else None
