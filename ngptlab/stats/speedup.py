"""How many tokens a baseline needs to reach a loss that a method reached. Takes numbers only, not runs.

The baseline's loss is a curve over tokens, measured at some lengths. It is made non-increasing (isotonic regression over the
mean of the seeds) and inverted by a monotone cubic through log tokens (PCHIP). Nothing is extrapolated beyond the measured
lengths: a loss below all of the baseline's needs "at least" its greatest length, a loss above them "at most" its smallest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression
from typing_extensions import TypedDict

from ngptlab.stats.estimates import Floats, ci95, jackknife

Bound = Literal["measured", "at least", "at most"]


class Bounded(TypedDict):
    """A number, or the limit beyond which it lies."""

    value: Annotated[float, Field(gt=0)]
    bound: Bound
    """`measured`: `value` lies between measured lengths. Otherwise the number lies beyond them, on this side of `value`."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """The tokens that the baseline needs for the loss of a method at one length."""

    tokens: float
    """Tokens of the method."""
    loss_nats: float
    """Loss of the method, mean over the seeds."""
    need: Bounded
    """Tokens that the baseline needs."""
    factor: Bounded
    """`need` over `tokens`. Above one, the method saves tokens."""
    interval: tuple[Bounded, Bounded] | None
    """95% interval of the factor, by Student's t with the jackknife's error of its logarithm over the seeds.

    None for one seed, and where the factor lies beyond measured losses with some seed left out.
    """
    by_seed: tuple[Bounded, ...]
    """The factor from each seed's own curves, in the order of the seeds."""


def points(
    tokens: Sequence[float], losses: Floats, base_tokens: Sequence[float], base_losses: Floats
) -> list[Point]:
    """The factor at each of the method's lengths.

    Losses are [seeds, lengths]. Row i of both arms has the same seed, and is left out in both by the jackknife.
    """
    seeds = len(losses)
    assert len(base_losses) == seeds, "paired by seed"

    def needs(rows: list[int]) -> Floats:
        return _needs(base_tokens, base_losses[rows].mean(axis=0), losses[rows].mean(axis=0))

    def factor(needed: float, count: float) -> Bounded:
        return times(_bounded(needed, base_tokens), 1 / count)

    every = list(range(seeds))
    single = [needs([seed]) for seed in every]
    left_out = [needs([other for other in every if other != seed]) for seed in every] if seeds > 1 else []
    found = []
    for i, (count, needed) in enumerate(zip(tokens, needs(every).tolist(), strict=True)):
        ends = _interval(needed, [float(needed_S[i]) for needed_S in left_out])
        point = Point(
            tokens=count,
            loss_nats=float(losses[:, i].mean()),
            need=_bounded(needed, base_tokens),
            factor=factor(needed, count),
            interval=(_measured(ends[0] / count), _measured(ends[1] / count)) if ends else None,
            by_seed=tuple(factor(float(needed_S[i]), count) for needed_S in single),
        )
        found.append(point)
    return found


def _interval(needed: float, left_out: Sequence[float]) -> tuple[float, float] | None:
    values = [needed, *left_out]
    if not left_out or not all(0 < value < math.inf for value in values):
        return None
    half = ci95(jackknife([math.log(value) for value in left_out]), len(left_out)) or 0.0
    return needed * math.exp(-half), needed * math.exp(half)


def _measured(value: float) -> Bounded:
    return {"value": value, "bound": "measured"}


def times(number: Bounded, by: float) -> Bounded:
    """A multiple of a bounded number."""
    return {"value": number["value"] * by, "bound": number["bound"]}


def _needs(tokens: Sequence[float], losses: Floats, targets: Floats) -> Floats:
    """Tokens at which a curve of losses, by increasing tokens, first reaches each target.

    Infinite for a target below all losses, 0 above them.
    """
    falling = isotonic_regression(losses, increasing=False).x
    # Where losses are equal, the first is where that loss is reached.
    reached, first = np.unique(falling, return_index=True)
    log_tokens = np.log(np.asarray(tokens, dtype=np.float64))[first]
    curve = PchipInterpolator(reached, log_tokens) if len(reached) > 1 else lambda _: log_tokens[0]
    inside = np.exp(curve(np.clip(targets, reached[0], reached[-1])))
    return np.where(targets < reached[0], np.inf, np.where(targets > reached[-1], 0.0, inside))


def _bounded(needed: float, tokens: Sequence[float]) -> Bounded:
    if needed == math.inf:
        return {"value": float(tokens[-1]), "bound": "at least"}
    if needed == 0.0:
        return {"value": float(tokens[0]), "bound": "at most"}
    return {"value": needed, "bound": "measured"}
