"""Loss against learning rate over widths, and what such curves say, as records: by `transfer` found, by `verdict` told."""

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
    """A row a seed; infinite where the run diverged."""
    errors: tuple[float, ...]
    """Standard error at each learning rate: over seeds, or with one seed over the documents of the validation text."""
    optimum: Optimum | None
    left_out: tuple[float, ...]
    """Rates with a cell that neither finished nor diverged."""

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
    """Of the least-squares line, from its residuals; None under three widths."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the best learning rate of the smallest width costs at the largest, against that width's own best."""

    lr: float
    nats: float
    """Infinite where the transferred learning rate diverges."""
    stderr: float | None
    """Over pairs of runs with one seed; None under two seeds."""


@dataclass(frozen=True, kw_only=True)
class Worse:
    """A width that is worse than the one below it at the learning rate of the smallest, where rules should carry it over."""

    width: int
    than: int
    nats: float
    """How much worse, on average over the seeds; infinite where it diverged."""
