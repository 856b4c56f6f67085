"""Where a curve of loss against log2 learning rate is lowest, and how exactly that is known. numpy only.

A parabola goes through the best point and its neighbours in the grid. How the interval comes about depends on what there
is, and every optimum says which it was (`Optimum.interval`):

    seeds      two seeds or more: three points; 95% of resampled seeds (percentile bootstrap, the same draw at every rate)
    residuals  one seed: up to five points, so that the fit leaves residuals; delta method and Student's t, 95%
    grid       no parabola has its lowest point near the best rate, or three points only: the neighbours in the grid
    edge       the best rate is the lowest or highest of the grid: no interval, the optimum may lie beyond
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Interval = Literal["seeds", "residuals", "grid", "edge"]

DRAWS = 2000
T95 = {1: 12.706, 2: 4.303, 3: 3.182}
"""Student's t, 97.5% quantile, by degrees of freedom."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The best learning rate of one curve, as its log2."""

    log2_lr: float
    low: float
    high: float
    """Ends of the 95% interval, as log2; at an edge both are the optimum itself."""
    interval: Interval
    best: int
    """Index of the best rate in the grid."""

    @property
    def on_edge(self) -> bool:
        """Whether the best rate is the first or last of the grid, so that the optimum may lie beyond it."""
        return self.interval == "edge"


def optimum(x_R: Array, loss_SR: Array) -> Optimum | None:
    """The optimum of a curve; None where every rate diverged.

    Shapes: `x_R` log2 of the rates, rising; `loss_SR` a row a seed, infinite where it diverged.
    """
    mean_R = loss_SR.mean(axis=0)
    if not np.isfinite(mean_R).any():
        return None
    best = int(mean_R.argmin())
    if best in (0, len(x_R) - 1):
        at = float(x_R[best])
        return Optimum(log2_lr=at, low=at, high=at, interval="edge", best=best)
    vertex = _vertex(x_R, mean_R)
    if len(loss_SR) > 1:
        low, high = _bootstrap(x_R, loss_SR)
        return Optimum(
            log2_lr=vertex, low=min(low, vertex), high=max(high, vertex), interval="seeds", best=best
        )
    fitted = _fit_residuals(x_R, mean_R, best)
    if fitted is not None:
        at, half = fitted
        low, high = max(at - half, float(x_R[0])), min(at + half, float(x_R[-1]))
        return Optimum(log2_lr=at, low=low, high=high, interval="residuals", best=best)
    low, high = float(x_R[best - 1]), float(x_R[best + 1])
    return Optimum(log2_lr=vertex, low=low, high=high, interval="grid", best=best)


def _vertex(x_R: Array, mean_R: Array) -> float:
    """Lowest point of the parabola through the best point and its two neighbours; the best point where there is none."""
    best = int(mean_R.argmin())
    near = slice(best - 1, best + 2)
    if best in (0, len(x_R) - 1) or not np.isfinite(mean_R[near]).all():
        return float(x_R[best])
    a, b, _ = np.polyfit(x_R[near] - x_R[best], mean_R[near], 2)
    # A tie of all three leaves no curvature; otherwise the middle one is lowest and the parabola opens upwards.
    return float(x_R[best] - b / (2 * a)) if a > 0 else float(x_R[best])


def _fit_residuals(x_R: Array, mean_R: Array, best: int) -> tuple[float, float] | None:
    """Vertex and half-width of its interval, from four or five finite points around the best; None where that fails."""
    start, stop = best - 1, best + 2
    if not np.isfinite(mean_R[start:stop]).all():
        return None
    if start > 0 and np.isfinite(mean_R[start - 1]):
        start -= 1
    if stop < len(x_R) and np.isfinite(mean_R[stop]):
        stop += 1
    freedom = stop - start - 3
    if freedom < 1:
        return None
    x, y = x_R[start:stop] - x_R[best], mean_R[start:stop]
    design = np.vander(x, 3)
    (a, b, c), *_ = np.linalg.lstsq(design, y, rcond=None)
    if a <= 0:
        return None
    at = -b / (2 * a)
    if not x_R[best - 1] < x_R[best] + at < x_R[best + 1]:
        return None
    variance = float(((y - design @ (a, b, c)) ** 2).sum()) / freedom
    gradient = np.array([b / (2 * a * a), -1 / (2 * a), 0.0])
    error = math.sqrt(max(0.0, variance * float(gradient @ np.linalg.inv(design.T @ design) @ gradient)))
    return float(x_R[best] + at), T95[freedom] * error


def _bootstrap(x_R: Array, loss_SR: Array) -> tuple[float, float]:
    """The interval over resampled seeds. Draws that differ in order only are computed once."""
    seeds = len(loss_SR)
    draws = np.sort(np.random.default_rng(0).integers(seeds, size=(DRAWS, seeds)))
    kinds, counts = np.unique(draws, axis=0, return_counts=True)
    vertices = np.array([_vertex(x_R, loss_SR[rows].mean(axis=0)) for rows in kinds])
    return _quantiles(vertices, counts / DRAWS, (0.025, 0.975))


def _quantiles(values: Array, weights: Array, at: tuple[float, float]) -> tuple[float, float]:
    """Quantiles of weighted values: the smallest value whose share reaches the level."""
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    low, high = (float(values[order][min(int(np.searchsorted(share, q)), len(values) - 1)]) for q in at)
    return low, high
