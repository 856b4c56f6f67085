"""Statistics over seeds: standard errors, confidence intervals, paired tests, jackknife. Uses scipy.

Everything here says how far a number would move if the runs were repeated with other seeds. The error over the windows or
documents of the validation text (`stderr_nats` of an evaluation) answers another question, and is never mixed in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import nctdtrinc, stdtr, stdtrit
from typing_extensions import TypedDict

Floats = NDArray[np.float64]

EXACT_PAIRS = 16
"""Most pairs for which the exact test tries all 2^n signs."""
POWER = 0.8
"""An effect is called detectable where the seeds find it this often. 80% is the usual power."""


class Difference(TypedDict):
    """One arm minus another over the seeds that both have, so that what a seed does to both cancels. None: under two pairs."""

    mean: float
    pairs: Annotated[int, Field(ge=1)]
    stderr: float | None
    """Standard error over the pairs."""
    ci95: float | None
    """Half-width of the 95% interval by Student's t."""
    p_t: float | None
    """Two-sided paired t test: chance of a mean this far from zero if the true one is zero. Assumes normal differences."""
    p_signs: float | None
    """Sign-flip test over all 2^n signs: exact for symmetric differences, never below 2^(1-n). None above 16 pairs."""
    welch_ci95: float | None
    """Half-width of the 95% interval without pairing, which is the better one where pairing cancels nothing."""
    correlation: float | None
    """Correlation of the two arms over the seeds. Near zero, pairing cancels nothing; below, it widens the interval."""


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return float(np.mean(np.asarray(values, dtype=np.float64)))


def stderr(values: Sequence[float]) -> float | None:
    """Standard error of the mean, from the scatter of the values (over n - 1); None under two values."""
    if len(values) < 2:
        return None
    return float(np.std(np.asarray(values, dtype=np.float64), ddof=1)) / math.sqrt(len(values))


def stderrs(values_SR: Floats) -> Floats:
    """Standard error of each column's mean over the rows, of which there are two or more."""
    errors_R: Floats = values_SR.std(axis=0, ddof=1) / math.sqrt(len(values_SR))
    return errors_R


def t95(freedom: float) -> float:
    """Student's t for a two-sided 95% interval, by degrees of freedom."""
    return float(stdtrit(freedom, 0.975))


def ci95(error: float | None, count: int) -> float | None:
    """Half-width of the 95% interval of a mean of `count` values with this standard error, by Student's t."""
    return None if error is None else error * t95(count - 1)


def half95(values: Sequence[float]) -> float | None:
    """Half-width of the 95% interval of the mean of these values, by Student's t; None under two."""
    return ci95(stderr(values), len(values))


def detectable(error: float | None, count: int) -> float | None:
    """The smallest distance of a true mean from a limit that `count` values find with 80% power.

    A distance is found where the 95% interval (`ci95`) lies wholly on the true side of the limit. The values are taken as
    independent draws of a normal distribution with the scatter that they show. Mean over error then follows a noncentral t
    (Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions 2, 1995, chapter 31). A few values hardly tell their
    scatter, so this number is rough. None under two values, or where all are the same.
    """
    if not error or count < 2:
        return None
    return error * float(nctdtrinc(count - 1, 1 - POWER, t95(count - 1)))


def perplexity(loss_nats: float) -> float | None:
    """exp of the loss; None where it leaves the range of a float."""
    return math.exp(loss_nats) if loss_nats < 700 else None


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """The difference `ours` minus `theirs`. Values at the same place have the same seed."""
    pairs = [a - b for a, b in zip(ours, theirs, strict=True)]
    middle, error = mean(pairs), stderr(pairs)
    return {
        "mean": middle,
        "pairs": len(pairs),
        "stderr": error,
        "ci95": ci95(error, len(pairs)),
        "p_t": t_test(pairs),
        "p_signs": signs_test(pairs),
        "welch_ci95": welch95(ours, theirs),
        "correlation": correlation(ours, theirs),
    }


def t_test(pairs: Sequence[float]) -> float | None:
    """Two-sided p of a mean of zero by Student's t; None under two pairs, or where all are the same."""
    error = stderr(pairs)
    if not error:
        return None
    return float(2 * stdtr(len(pairs) - 1, -abs(mean(pairs)) / error))


def signs_test(pairs: Sequence[float]) -> float | None:
    """Two-sided p of a mean of zero: the fraction of sign choices whose mean is at least as far from zero as the observed."""
    if not 2 <= len(pairs) <= EXACT_PAIRS:
        return None
    values = np.asarray(pairs, dtype=np.float64)
    signs = np.array(list(product((-1.0, 1.0), repeat=len(pairs))))
    sums = np.abs(signs @ values)
    observed = abs(float(values.sum()))
    # The observed signs are among them, but summed in another order, so equality is up to rounding.
    return float(np.mean(sums >= observed - 1e-12 * float(np.abs(values).sum())))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p of several tests, in their order: below 0.05 means that all errors together have a chance below 0.05.

    The smallest p is multiplied by the number of tests n, the next by n - 1, and so on; none ends below the one before it
    (Holm, A simple sequentially rejective multiple test procedure, 1979).
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = largest
    return adjusted


def jackknife(left_out: Sequence[float]) -> float:
    """Standard error of a statistic of n seeds, from its n values with each seed left out in turn.

    For a mean it is the usual error. With it, Student's t covers its nominal 95% (`ci95`). A bootstrap of three seeds can only
    span the three, which covers 75%.
    """
    values = np.asarray(left_out, dtype=np.float64)
    return math.sqrt((len(values) - 1) * float(values.var()))


def correlation(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Pearson's correlation over the seeds: what pairing can cancel. None under three pairs, or where an arm never varies."""
    a, b = (np.asarray(each, dtype=np.float64) for each in (ours, theirs))
    if len(a) < 3 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def welch95(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Half-width of the 95% interval of a difference of means, with the seeds of both arms taken as independent.

    Welch's t with Satterthwaite's degrees of freedom. None under two values, or where neither arm scatters.
    """
    a, b = stderr(ours), stderr(theirs)
    if a is None or b is None or not (a or b):
        return None
    squares = a * a + b * b
    freedom = squares * squares / (a**4 / (len(ours) - 1) + b**4 / (len(theirs) - 1))
    return math.sqrt(squares) * t95(freedom)


def in_words(found: Difference) -> str:
    """A difference of losses as part of a sentence, with its interval, tests and seeds. One seed is named as such."""
    value = f"{found['mean']:+z.4f} nats"
    half, n = found["ci95"], found["pairs"]
    if half is None:
        return f"{value}, from one seed: nothing says how far another would move it"
    low, high = found["mean"] - half, found["mean"] + half
    interval = f"{value}, 95% interval {low:+z.4f} to {high:+z.4f} (Student's t, {n} paired seeds)"
    tests = [f"p = {found['p_t']:.2g} by the paired t test"] if found["p_t"] is not None else []
    if found["p_signs"] is not None:
        tests.append(
            f"{found['p_signs']:.2g} by exact signs, which {n} seeds can't bring below {2.0 ** (1 - n):.2g}"
        )
    unpaired = []
    if found["welch_ci95"] is not None and found["correlation"] is not None:
        unpaired.append(
            f"unpaired ± {found['welch_ci95']:.4f} (Welch; the arms correlate by {found['correlation']:+z.2f} over seeds)"
        )
    return "; ".join([interval, *([", ".join(tests)] if tests else []), *unpaired])
