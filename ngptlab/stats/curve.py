"""Records of loss against learning rate over widths. `transfer` computes them, `verdict` puts them into words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ngptlab.stats.optimum import Optimum


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Loss against learning rate at one width, over seeds."""

    width: int
    lrs: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    """One row for each seed; infinite where the run diverged."""
    errors: tuple[float, ...]
    """Standard error at each learning rate, over seeds; for one seed, over the documents of the validation text."""
    optimum: Optimum | None
    left_out: tuple[float, ...]
    """Learning rates with a cell that neither finished nor diverged."""

    @property
    def means(self) -> tuple[float, ...]:
        """Mean loss at each learning rate."""
        return tuple(float(value) for value in np.mean(self.losses, axis=0))

    @property
    def diverged(self) -> int:
        """Number of runs that diverged."""
        return int(np.isinf(self.losses).sum())


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How far the optimum moves, in powers of two per doubling of width."""

    slope: float
    stderr: float | None
    """Standard error of the slope of the least-squares line, from its residuals; None under three widths."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the best learning rate of the smallest width costs at the largest, against that width's own best."""

    lr: float
    nats: float
    """Difference of the mean losses; infinite where the transferred learning rate diverges."""
    stderr: float | None
    """Standard error over the seeds, paired; None under two seeds."""


@dataclass(frozen=True, kw_only=True)
class Worse:
    """A width with a higher loss than the next smaller one, at the smallest width's best learning rate."""

    width: int
    than: int
    nats: float
    """How much higher the loss is, on average over the seeds; infinite where the wider one diverged."""
