"""The exponent with which a cost grows: a straight line through logarithms."""

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
