"""What runs over several seeds allow to say: errors, intervals, paired tests, bootstrap. On scipy.

Everything here is about seeds: how far a number would move were the runs repeated with others. The error over the windows
or documents of the validation text (`stderr_nats` of an evaluation) answers another question, and is never mixed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr, stdtrit
from typing_extensions import TypedDict

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

EXACT_PAIRS = 16
"""Most pairs for which all 2^n signs are tried."""
EXACT_SEEDS = 5
"""Most seeds for which all n^n resamples are taken, 3125; above that, RESAMPLES random ones."""
RESAMPLES = 2000


class Difference(TypedDict):
    """One arm minus another over the seeds that both have. What a seed does to both cancels. None: under two pairs."""

    mean: float
    pairs: int
    stderr: float | None
    """Standard error over the pairs."""
    ci95: float | None
    """Half-width of the 95% interval by Student's t."""
    p_t: float | None
    """Two-sided paired t test: chance of a mean this far from zero, were the true one zero. Takes normal differences."""
    p_signs: float | None
    """The same by all 2^n signs of the differences, exact for symmetric ones; never below 2^(1-n). None above 16 pairs."""
    bootstrap95: list[float] | None
    """Interval by resampling the seeds; see `expanded95` for how much it can cover."""


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return float(np.mean(np.asarray(values, dtype=np.float64)))


def stderr(values: Sequence[float]) -> float | None:
    """Standard error of the mean, from the scatter of the values (over n - 1); None under two values."""
    if len(values) < 2:
        return None
    return float(np.std(np.asarray(values, dtype=np.float64), ddof=1)) / math.sqrt(len(values))


def ci95(error: float | None, count: int) -> float | None:
    """Half-width of the 95% interval of a mean of `count` values with this standard error, by Student's t."""
    return None if error is None else error * float(stdtrit(count - 1, 0.975))


def perplexity(loss_nats: float) -> float | None:
    """exp of the loss; None where it leaves the range of a float."""
    return math.exp(loss_nats) if loss_nats < 700 else None


def difference(pairs: Sequence[float]) -> Difference:
    """All of it for paired differences, one a seed."""
    middle, error = mean(pairs), stderr(pairs)
    interval = bootstrap95(lambda seeds: mean([pairs[i] for i in seeds]), len(pairs))
    return {
        "mean": middle,
        "pairs": len(pairs),
        "stderr": error,
        "ci95": ci95(error, len(pairs)),
        "p_t": t_test(pairs),
        "p_signs": signs_test(pairs),
        "bootstrap95": list(interval) if interval else None,
    }


def t_test(pairs: Sequence[float]) -> float | None:
    """Two-sided p of a mean of zero by Student's t; None under two pairs, or where all are the same."""
    error = stderr(pairs)
    if not error:
        return None
    return float(2 * stdtr(len(pairs) - 1, -abs(mean(pairs)) / error))


def signs_test(pairs: Sequence[float]) -> float | None:
    """Two-sided p of a mean of zero: the share of all signs of the differences whose mean is as far from zero or farther."""
    if not 2 <= len(pairs) <= EXACT_PAIRS:
        return None
    values = np.asarray(pairs, dtype=np.float64)
    signs = np.array(list(product((-1.0, 1.0), repeat=len(pairs))))
    sums = np.abs(signs @ values)
    observed = abs(float(values.sum()))
    # The observed signs are among them, summed in another order: equal up to rounding is equal.
    return float(np.mean(sums >= observed - 1e-12 * float(np.abs(values).sum())))


def resamples(count: int) -> Ints:
    """Draws of `count` seeds with replacement, [R, count]: all n^n of few, else RESAMPLES; the same at every call."""
    if count <= EXACT_SEEDS:
        return np.array(list(product(range(count), repeat=count)), dtype=np.int64)
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def bootstrap95(statistic: Callable[[Ints], float], count: int) -> tuple[float, float] | None:
    """95% interval of a statistic of `count` seeds, from resampling them; None of one seed."""
    if count < 2:
        return None
    return expanded95(np.array([statistic(seeds) for seeds in resamples(count)]), count)


def expanded95(values: Floats, count: int) -> tuple[float, float]:
    """95% interval from a statistic's values over `resamples(count)`; infinite values are allowed.

    Plain percentiles are too narrow for few seeds. These are taken further out, as the t-interval of a mean would be
    (Hesterberg, arXiv:1411.5279, "expanded percentile"). No resample lies beyond the extreme seeds, so the interval
    can't cover more than 1 - 2^(1-n): 75% with 3 seeds, 88% with 4, 94% with 5 (`coverage_limit`).
    """
    tail = float(ndtr(-math.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.975)))
    ordered, outside = np.sort(values), math.floor(tail * len(values))
    return float(ordered[outside]), float(ordered[len(ordered) - 1 - outside])


def coverage_limit(count: int) -> float:
    """The most that a bootstrap interval over `count` seeds can cover: all seeds may lie on one side of the truth."""
    return 1 - 2.0 ** (1 - count)


def in_words(found: Difference) -> str:
    """A difference of losses as a sentence's part: with its interval, test and seeds, or that there is one seed."""
    value = f"{found['mean']:+z.4f} nats"
    half, n = found["ci95"], found["pairs"]
    if half is None:
        return f"{value}, from one seed: nothing says how far another would move it"
    low, high = found["mean"] - half, found["mean"] + half
    said = f"{value}, 95% interval {low:+z.4f} to {high:+z.4f} (Student's t, {n} paired seeds)"
    tests = [f"p = {found['p_t']:.2g} by the paired t test"] if found["p_t"] is not None else []
    if found["p_signs"] is not None:
        tests.append(
            f"{found['p_signs']:.2g} by exact signs, which {n} seeds can't bring below {2.0 ** (1 - n):.2g}"
        )
    return "; ".join([said, ", ".join(tests)]) if tests else said
