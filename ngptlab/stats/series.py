"""Shorter forms of series over steps: common steps, block means, steady step times. numpy only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

WARMUP_SHARE = 0.1
"""Fraction of a run's steps, at its start, left out of its step time: compilation, caches, clocks."""


def common_steps(series: Iterable[Iterable[int]]) -> list[int]:
    """Steps that all series have, in order."""
    return sorted(set.intersection(*(set(steps) for steps in series)))


def steady(seconds: Sequence[float]) -> Sequence[float]:
    """Step times without the first tenth of the steps, at least one."""
    return seconds[max(1, math.ceil(WARMUP_SHARE * len(seconds))) :]


def median_iqr(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Median and interquartile range; None for an empty series."""
    if not values:
        return None, None
    low, middle, high = np.quantile(np.asarray(values, dtype=np.float64), (0.25, 0.5, 0.75))
    return float(middle), float(high - low)


def block_means(steps: Sequence[int], values: Sequence[float], blocks: int = 200) -> list[tuple[int, float]]:
    """At most `blocks` means of neighbouring values, each at the last step of its block."""
    size = max(1, math.ceil(len(values) / blocks))
    starts = range(0, len(values), size)
    return [
        (steps[min(i + size, len(steps)) - 1], float(np.mean(np.asarray(values[i : i + size], np.float64))))
        for i in starts
    ]
