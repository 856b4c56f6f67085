"""Whether a method reaches a target loss, judged seed by seed. Takes numbers only, not runs.

Two one-sided questions are asked of a method: is its mean final loss, over all possible seeds, below the target, or above it?
They are asked again after every seed, and every look may err by chance. So each look has an equal part of the significance,
and all looks together stay within it (Bonferroni), however early one stops.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.special import chdtrc, ndtr, ndtri, stdtr, stdtrit
from typing_extensions import TypedDict

from ngptlab.errors import ConfigError, shown
from ngptlab.stats.estimates import mean, stderr

ROUNDING_NATS = 1e-12
"""Losses that scatter by less differ by rounding only, so they give no standard error."""

Verdict = Literal["reached", "not reached", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a question is decided.

    Raises:
        ConfigError: no such rule can decide anything.
    """

    significance: float
    """Chance of a wrong "reached", and of a wrong "not reached", at most: for each method, over all looks."""
    max_seeds: int
    sigma: float | None = None
    """Standard deviation of one run's final loss over the seeds, in nats, where known; None: estimated from the runs."""

    def __post_init__(self) -> None:
        if not 0 < self.significance < 0.5:
            raise ConfigError(
                f"--significance: given {self.significance:g}; give a chance of error above 0 and below 0.5, as 0.01"
            )
        if self.sigma is not None and not 0 < self.sigma < math.inf:
            raise ConfigError(f"--sigma: given {self.sigma:g}; give a standard deviation in nats, above 0")
        if self.max_seeds < self.first:
            unknown = " without --sigma, because one run says nothing of its own scatter"
            raise ConfigError(
                f"--max-seeds: given {shown(self.max_seeds)}; give at least {self.first}"
                f"{unknown if self.sigma is None else ''}"
            )

    @property
    def first(self) -> int:
        """Number of seeds at the first look."""
        return 2 if self.sigma is None else 1

    @property
    def looks(self) -> int:
        """Greatest possible number of looks."""
        return self.max_seeds - self.first + 1

    @property
    def level(self) -> float:
        """The significance of each look: p below it decides."""
        return self.significance / self.looks


@dataclass(frozen=True, kw_only=True)
class Look:
    """The test of a mean difference to the target at one look. Below zero, the loss is below the target."""

    seeds: int
    mean: float
    error: float | None
    """Standard error; None for one seed without sigma, and for seeds without any scatter."""
    p_below: float | None
    """Chance of a mean this low or lower if the true mean is zero."""
    p_above: float | None
    """Chance of a mean this high or higher if the true mean is zero."""
    bound: float | None
    """One-sided bound of the true mean at the rule's level: from above where the mean is below zero, else from below."""
    verdict: Verdict


def judge(differences: Sequence[float], rule: Rule, *, paired: bool = False) -> Look:
    """The first look that decides, or the last one.

    Args:
        differences: final losses minus the target, nats, in the order of the seeds.
        paired: the target is another method's loss with the same seed, and scatters as well.
    """
    assert differences, "one seed at least"
    for seeds in range(min(rule.first, len(differences)), len(differences) + 1):
        found = look(differences[:seeds], rule, paired=paired)
        if found.verdict != "undecided":
            break
    return found


def look(differences: Sequence[float], rule: Rule, *, paired: bool = False) -> Look:
    """The test of these differences at one look, without regard to earlier looks.

    Student's t with n - 1 degrees of freedom, or the normal distribution where sigma is known; the difference of two runs
    then has the variance of both, as if they were independent.
    """
    seeds, middle = len(differences), mean(differences)
    error = _error(differences, rule, paired)
    if error is None or error < ROUNDING_NATS:
        return Look(
            seeds=seeds, mean=middle, error=None, p_below=None, p_above=None, bound=None, verdict="undecided"
        )
    ratio = middle / error
    if rule.sigma is None:
        below, above = (float(stdtr(seeds - 1, side)) for side in (ratio, -ratio))
        width = -float(stdtrit(seeds - 1, rule.level)) * error
    else:
        below, above = (float(ndtr(side)) for side in (ratio, -ratio))
        width = -float(ndtri(rule.level)) * error
    return Look(
        seeds=seeds,
        mean=middle,
        error=error,
        p_below=below,
        p_above=above,
        bound=middle + width if middle < 0 else middle - width,
        verdict="reached" if below < rule.level else "not reached" if above < rule.level else "undecided",
    )


def _error(differences: Sequence[float], rule: Rule, paired: bool) -> float | None:
    if rule.sigma is None:
        return stderr(differences)
    return rule.sigma * math.sqrt((2 if paired else 1) / len(differences))


def scatter_beyond(sigma: float, arms: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    """The standard deviation within arms, and the chance of one this large if `sigma` is true; None under two seeds.

    By chi squared, over the losses of all arms, each about its own mean.
    """
    squares = [(loss - mean(losses)) ** 2 for losses in arms for loss in losses]
    freedom = sum(len(losses) - 1 for losses in arms)
    if not freedom:
        return None
    return math.sqrt(sum(squares) / freedom), float(chdtrc(freedom, sum(squares) / sigma**2))


class OnTheWay(TypedDict):
    """When the loss was first at or below the target during runs. It is no verdict, because it is no end of a shorter run."""

    by_seed: list[float | None]
    """Steps in the order of the seeds; None for a run that never reached the target."""
    median_step: float | None
    """Median over the runs; None where half of the runs or more never reached the target."""
    range_steps: list[float] | None
    """Least and greatest step of the runs that reached the target; None where no run did."""


def on_the_way(curves: Sequence[Sequence[tuple[int, float]]], target: float) -> OnTheWay:
    """From the validations of each run, (step, loss in nats) by increasing steps."""
    by_seed = [_first_at(curve, target) for curve in curves]
    were = [step for step in by_seed if step is not None]
    middle = statistics.median([math.inf if step is None else step for step in by_seed])
    return {
        "by_seed": by_seed,
        "median_step": middle if middle < math.inf else None,
        "range_steps": [min(were), max(were)] if were else None,
    }


def _first_at(curve: Sequence[tuple[int, float]], target: float) -> float | None:
    """The step at which a straight line between validations first reaches the target."""
    before: tuple[int, float] | None = None
    for step, loss in curve:
        if loss <= target:
            if before is None:
                return float(step)
            return before[0] + (step - before[0]) * (before[1] - target) / (before[1] - loss)
        before = step, loss
    return None
