"""What a scan over sizes finds: costs, and the exponent with which each grows, from a straight line through logarithms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Exponent:
    """cost ~ size ** value."""

    value: float
    stderr: float | None
    """Standard error of the slope, from the residuals; None for two points, which leave no residuals."""


@dataclass(frozen=True)
class Growth:
    """A method along an axis."""

    step_seconds: tuple[tuple[float, ...], ...]
    """Of every turn, by size."""
    step_seconds_median: tuple[float, ...]
    flops_per_second: tuple[float, ...]
    peak_bytes: tuple[int, ...]
    time: Exponent
    memory: Exponent


@dataclass(frozen=True)
class Axis:
    """What was found along an axis."""

    sizes: tuple[int, ...]
    step_flops: tuple[int, ...]
    expected_time: Exponent
    methods: dict[str, Growth]


def upper_half(values: Sequence[float]) -> Sequence[float]:
    """The larger sizes' values, the middle one included: costs that don't grow weigh least there."""
    return values[len(values) // 2 :]


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> Exponent:
    """Least squares in log-log over the upper half of the sizes, which are in rising order."""
    assert len(sizes) == len(costs) > 2
    x, y = np.log(upper_half(sizes)), np.log(upper_half(costs))
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    free = len(x) - 2
    if not free:
        return Exponent(slope, None)
    residuals = y - slope * x
    return Exponent(slope, float(np.sqrt(residuals @ residuals / free / (x @ x))))
