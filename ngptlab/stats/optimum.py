"""The best learning rate of a curve of loss against log2 learning rate, with its 95% interval.

The estimate is the lowest point of a parabola, whatever the number of seeds. The parabola is fitted to the mean curve at the
best learning rate and up to two neighbours on each side. The interval has one of four sources, which `Optimum.interval` names:

    seeds      two seeds or more: Student's t over the seeds, the error by the jackknife (the same estimator with each seed
               left out in turn). A bootstrap of three seeds is the range of the seeds and covers too little.
    residuals  one seed: the delta method from what the fit leaves, and Student's t
    grid       no parabola has its lowest point near the best learning rate, or three points only: the neighbours in the grid
    edge       the best learning rate is the lowest or highest of the grid: no interval, the optimum may lie beyond
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ngptlab.stats.estimates import jackknife, t95

Array = NDArray[np.float64]
Interval = Literal["seeds", "residuals", "grid", "edge"]

REACH = 2
"""Neighbours on each side of the best learning rate that the parabola fits. Farther out the loss is no parabola."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The best learning rate of one curve, as its log2."""

    log2_lr: float
    low: float
    high: float
    """`low` and `high` are the ends of the 95% interval, as log2; at an edge both are the optimum itself."""
    interval: Interval
    best: int
    """Index of the best learning rate in the grid."""

    @property
    def on_edge(self) -> bool:
        """Whether the best learning rate is the first or last of the grid, so that the optimum may lie beyond it."""
        return self.interval == "edge"


def optimum(x_R: Array, loss_SR: Array) -> Optimum | None:
    """The optimum of a curve; None where every learning rate diverged.

    Shapes: `x_R` log2 of the learning rates, rising; `loss_SR` a row a seed, infinite where it diverged.
    """
    mean_R = loss_SR.mean(axis=0)
    if not np.isfinite(mean_R).any():
        return None
    best = int(mean_R.argmin())
    if best in (0, len(x_R) - 1):
        at = float(x_R[best])
        return Optimum(log2_lr=at, low=at, high=at, interval="edge", best=best)
    at, (_, near) = _vertex(x_R, mean_R), _near(mean_R)
    # A neighbour that diverged leaves no parabola: the estimate is a point of the grid, and no seed left out moves it.
    beside_diverged = not near.start < best < near.stop - 1
    if len(loss_SR) > 1 and not beside_diverged:
        left_out = [
            _vertex(x_R, np.delete(loss_SR, seed, axis=0).mean(axis=0)) for seed in range(len(loss_SR))
        ]
        half, interval = t95(len(loss_SR) - 1) * jackknife(left_out), "seeds"
    elif (error := _residual_error(x_R, mean_R)) is not None:
        half, interval = error, "residuals"
    else:
        low, high = float(x_R[best - 1]), float(x_R[best + 1])
        return Optimum(log2_lr=at, low=low, high=high, interval="grid", best=best)
    low, high = max(at - half, float(x_R[0])), min(at + half, float(x_R[-1]))
    return Optimum(log2_lr=at, low=low, high=high, interval=interval, best=best)  # type: ignore[arg-type]


def _near(mean_R: Array) -> tuple[int, slice]:
    """Index of the best point, and the points that the parabola is fitted to: outwards up to the first infinite loss."""
    best = int(mean_R.argmin())
    start = stop = best
    while start > max(0, best - REACH) and np.isfinite(mean_R[start - 1]):
        start -= 1
    while stop < min(len(mean_R) - 1, best + REACH) and np.isfinite(mean_R[stop + 1]):
        stop += 1
    return best, slice(start, stop + 1)


def _vertex(x_R: Array, mean_R: Array) -> float:
    """Lowest point of the least-squares parabola; the best point itself where that has none between its neighbours."""
    best, near = _near(mean_R)
    if not near.start < best < near.stop - 1:
        return float(x_R[best])
    a, b, _ = np.polyfit(x_R[near] - x_R[best], mean_R[near], 2)
    at = float(x_R[best] - b / (2 * a)) if a > 0 else math.nan
    return at if x_R[best - 1] < at < x_R[best + 1] else float(x_R[best])


def _residual_error(x_R: Array, mean_R: Array) -> float | None:
    """Half-width of the 95% interval from the fit's residuals; None without residuals, or without a lowest point there."""
    best, near = _near(mean_R)
    x, y = x_R[near] - x_R[best], mean_R[near]
    freedom = len(x) - 3
    if freedom < 1 or not near.start < best < near.stop - 1:
        return None
    design = np.vander(x, 3)
    (a, b, c), *_ = np.linalg.lstsq(design, y, rcond=None)
    if a <= 0 or not x_R[best - 1] < x_R[best] - b / (2 * a) < x_R[best + 1]:
        return None
    variance = float(((y - design @ (a, b, c)) ** 2).sum()) / freedom
    gradient = np.array([b / (2 * a * a), -1 / (2 * a), 0.0])
    error = math.sqrt(max(0.0, variance * float(gradient @ np.linalg.inv(design.T @ design) @ gradient)))
    return t95(freedom) * error
