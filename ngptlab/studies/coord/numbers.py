"""The coordinate check's verdict: how sizes of activations grow with width, as slopes of log2 size over log2 width."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from typing_extensions import TypedDict

from ngptlab.stats.estimates import stderr

FIRST_STEP = 2
"""First step that is judged. Where the unembedding starts at zero, only it has a gradient in step 1."""

LIMIT = 0.3
"""Largest |slope| that passes: a factor of 1.23 for each doubling of width.

Exponents of width are multiples of a half, so right rules give 0 in the limit and wrong ones 0.5 or more. Two effects lie in
between. Finite width gives up to 0.1 at widths from 64 on. nuGPT's m^-3/4 is a compromise between m^-1/2, for updates that add
up as noise, and m^-1, for updates that align, so its slopes may reach 0.25 either way. Both signs count, because an activation
that vanishes with width transfers no better than one that explodes.
"""

STEP_LIMIT = 2 * LIMIT
"""Largest |slope| between two neighbouring widths that passes. A line alone misses (1, 4, 4, 1), which it fits as level.

It is twice `LIMIT`, because two widths tell a slope less precisely than all of them. A wrong rule's 0.5 at every doubling is
found by the line.
"""

Quantity = Literal["size", "change"]


@dataclass(frozen=True)
class Point:
    """One kind of activation at one width, seed and step, blocks averaged."""

    width: int
    seed: int
    step: int
    kind: str
    size: float
    """Mean |activation|; times sqrt(d_model) for kinds with d_model channels where hidden states have unit norm."""
    change: float
    """The size of the difference from step 0 on the same tokens."""


@dataclass(frozen=True)
class Slope:
    """One kind of activation at one step, over all widths."""

    kind: str
    quantity: Quantity
    step: int
    slope: float | None
    """Slope of the least-squares line; None where a value is zero or not finite."""
    stderr: float | None
    """Standard error over seeds; None with one seed."""
    steepest: float | None = None
    """Slope between two neighbouring widths, farthest from zero, mean over seeds; None where `slope` is None."""

    @property
    def excess(self) -> float:
        """The larger of the line's slope and the steepest doubling's, each over its limit; infinite where not known."""
        if self.slope is None or self.steepest is None:
            return math.inf
        return max(abs(self.slope) / LIMIT, abs(self.steepest) / STEP_LIMIT)

    @property
    def passed(self) -> bool:
        """Whether the line and every doubling of width are within their limits."""
        return self.excess <= 1


def slopes(points: Iterable[Point]) -> list[Slope]:
    """Slopes by least squares through the mean log2 over seeds at each width, for every kind, quantity and step."""
    logs: dict[tuple[str, Quantity, int], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for point in points:
        for quantity, value in (("size", point.size), ("change", point.change)):
            key: tuple[str, Quantity, int] = (point.kind, quantity, point.step)  # type: ignore[assignment]
            known = value > 0 and math.isfinite(value)
            logs[key][point.width].append(math.log2(value) if known else math.nan)
    return [Slope(*key, *_fit(by_width)) for key, by_width in logs.items()]


def _fit(by_width: dict[int, list[float]]) -> tuple[float | None, float | None, float | None]:
    widths = sorted(by_width)
    log_W = np.log2(widths)
    y_WS = np.array([by_width[width] for width in widths])
    if len(widths) < 2 or not np.isfinite(y_WS).all():
        return None, None, None
    x_W = log_W - log_W.mean()
    slope_S = x_W @ y_WS / (x_W @ x_W)
    steps = np.diff(y_WS.mean(axis=1)) / np.diff(log_W)
    return float(slope_S.mean()), stderr(slope_S.tolist()), float(steps[np.abs(steps).argmax()])


def worst(found: Iterable[Slope]) -> list[Slope]:
    """The worst slope of every kind and quantity over the judged steps: the one with the greatest `excess`."""
    judged: dict[tuple[str, str], Slope] = {}
    for slope in found:
        key = (slope.kind, slope.quantity)
        if slope.step >= FIRST_STEP and (key not in judged or slope.excess > judged[key].excess):
            judged[key] = slope
    return list(judged.values())


def passed(found: Iterable[Slope]) -> bool:
    """The verdict: whether every slope at every judged step is within its limits. A check without slopes does not pass."""
    judged = worst(found)
    return bool(judged) and all(slope.passed for slope in judged)


class Measured(TypedDict):
    """Measurements of a coordinate check."""

    method: str
    param: dict[str, Any]
    """Settings of the rules, with their name as `rules`."""
    config: dict[str, Any]
    """Settings of the training, with its learning rate as `lr`."""
    points: list[Point]


class Check(Measured):
    """The content of `coord.json`. A size that left the range of a float is infinite or NaN."""

    limit: float
    passed: bool
    slopes: list[Slope]


def judged(measured: Measured) -> Check:
    """The check: measurements with slopes and verdict."""
    found = slopes(measured["points"])
    return {**measured, "limit": LIMIT, "passed": passed(found), "slopes": found}
