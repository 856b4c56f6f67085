"""The report's statistics: standard errors over seeds, intervals, step times, smoothing. numpy only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t, 97.5% quantile, 1 to 10 degrees of freedom. Beyond 10 the last stands: a little too wide."""

WARMUP_SHARE = 0.1
"""Share of a run's first steps left out of its step time: compilation, caches, clocks."""


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return float(np.mean(np.asarray(values, dtype=np.float64)))


def stderr(values: Sequence[float]) -> float | None:
    """Standard error of the mean, from the scatter of the values (over n - 1); None under two values."""
    if len(values) < 2:
        return None
    return float(np.std(np.asarray(values, dtype=np.float64), ddof=1)) / math.sqrt(len(values))


def ci95(error: float | None, count: int) -> float | None:
    """Half-width of the 95% interval of a mean of `count` values with this standard error."""
    return None if error is None else error * T95[min(count - 1, len(T95)) - 1]


def perplexity(loss_nats: float) -> float | None:
    """exp of the loss; None where it leaves the range of a float."""
    return math.exp(loss_nats) if loss_nats < 700 else None


def common_steps(series: Iterable[Iterable[int]]) -> list[int]:
    """Steps that every series has."""
    return sorted(set.intersection(*(set(steps) for steps in series)))


def steady(seconds: Sequence[float]) -> Sequence[float]:
    """Step times without the first tenth of the steps, at least one."""
    return seconds[max(1, math.ceil(WARMUP_SHARE * len(seconds))) :]


def median_iqr(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Median and interquartile range; None of nothing."""
    if not values:
        return None, None
    low, middle, high = np.quantile(np.asarray(values, dtype=np.float64), (0.25, 0.5, 0.75))
    return float(middle), float(high - low)


def block_means(steps: Sequence[int], values: Sequence[float], blocks: int = 200) -> list[tuple[int, float]]:
    """At most `blocks` means of neighbouring values, each at the last step of its block."""
    size = max(1, math.ceil(len(values) / blocks))
    starts = range(0, len(values), size)
    return [(steps[min(i + size, len(steps)) - 1], mean(values[i : i + size])) for i in starts]
