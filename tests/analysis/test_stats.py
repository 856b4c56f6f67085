"""The statistics against scipy and numpy, and against what they promise: intervals cover as often as they say."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import ngptlab
from ngptlab.analysis import stats
from ngptlab.claims.evidence import Estimate
from ngptlab.claims.standard import show

PAIRS = {
    "three": [-0.021, -0.015, -0.03],
    "five": [0.01, -0.002, 0.004, 0.03, 0.011],
    "even": [0.5, -0.25, 0.125, -0.0625],
    "nine": [0.3, 0.1, -0.2, 0.4, 0.25, 0.05, -0.1, 0.2, 0.15],
}
by_pairs = pytest.mark.parametrize("pairs", PAIRS.values(), ids=PAIRS)


@by_pairs
def test_error_interval_and_t_test_are_scipys(pairs: list[float]) -> None:
    """Both compute in float64; only the order of sums differs."""
    found, reference = stats.difference(pairs), scipy.stats.ttest_1samp(pairs, 0.0)
    low, high = reference.confidence_interval(0.95)
    assert found["mean"] == pytest.approx(np.mean(pairs), rel=1e-12) and found["pairs"] == len(pairs)
    assert found["stderr"] == pytest.approx(scipy.stats.sem(pairs), rel=1e-12)
    assert found["p_t"] == pytest.approx(reference.pvalue, rel=1e-9)
    assert found["ci95"] == pytest.approx((high - low) / 2, rel=1e-9)
    assert found["mean"] == pytest.approx((high + low) / 2, abs=1e-12)


@by_pairs
def test_signs_test_is_scipys_exact_permutation_test(pairs: list[float]) -> None:
    reference = scipy.stats.permutation_test(
        (pairs,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert stats.signs_test(pairs) == pytest.approx(reference.pvalue, abs=1e-12)


def test_signs_test_cannot_go_below_its_floor() -> None:
    """However clear the difference, n seeds have 2^n signs, of which two are as extreme."""
    for n in (2, 3, 5):
        assert stats.signs_test([-1.0 - 0.01 * i for i in range(n)]) == 2.0 ** (1 - n)
    assert stats.signs_test([0.1, 0.1, 0.1]) == 0.25, "sums of equal values in another order are equal"
    assert stats.signs_test([1.0]) is None and stats.signs_test([1.0] * 17) is None


def test_one_pair_has_no_error_and_says_so() -> None:
    found = stats.difference([-0.5])
    assert (found["mean"], found["pairs"]) == (-0.5, 1)
    assert {found[key] for key in ("stderr", "ci95", "p_t", "p_signs", "bootstrap95")} == {None}  # type: ignore[literal-required]
    assert "one seed" in stats.in_words(found)


def test_a_difference_that_is_shown_as_zero_has_no_sign() -> None:
    assert stats.in_words(stats.difference([-1e-17, 0.0])).startswith("+0.0000 nats")
    assert show(Estimate(mean=-1e-17, half=0.0, pairs=2)) == "+0.0000 nats, 95% interval +0.0000 to +0.0000"


def test_no_signed_number_is_shown_as_minus_zero() -> None:
    """`z` in a format says so; without it `f"{-1e-17:+.2f}"` is "-0.00"."""
    package = Path(ngptlab.__file__).parent
    plain = [
        f"{path.relative_to(package)}: {found}"
        for path in package.rglob("*.py")
        for found in re.findall(r"[:'\"]\+\d*\.\d+f", path.read_text(encoding="utf-8"))
    ]
    assert plain == []


def test_words_name_the_test_and_the_seeds() -> None:
    said = stats.in_words(stats.difference(PAIRS["three"]))
    assert "Student's t, 3 paired seeds" in said and "by the paired t test" in said
    assert "0.25 by exact signs, which 3 seeds can't bring below 0.25" in said
    assert "-0.0220 nats" in said


def test_equal_pairs_have_no_t_test() -> None:
    found = stats.difference([0.25, 0.25, 0.25])
    assert (found["stderr"], found["p_t"], found["bootstrap95"]) == (0.0, None, [0.25, 0.25])


def test_resamples_of_few_seeds_are_all_there_are() -> None:
    assert {tuple(row) for row in stats.resamples(3)} == set(itertools.product(range(3), repeat=3))
    assert len(stats.resamples(5)) == 5**5
    many = stats.resamples(8)
    assert many.shape == (stats.RESAMPLES, 8) and (many == stats.resamples(8)).all()
    assert many.min() == 0 and many.max() == 7


def test_bootstrap_interval_is_the_expanded_percentile() -> None:
    values = np.array(PAIRS["nine"])
    found = stats.bootstrap95(lambda seeds: float(values[seeds].mean()), 9)
    means = values[stats.resamples(9)].mean(axis=1)
    tail = scipy.stats.norm.cdf(-math.sqrt(9 / 8) * scipy.stats.t.ppf(0.975, 8))
    assert found is not None
    assert np.mean(means < found[0]) <= tail < np.mean(means <= found[0])
    assert np.mean(means > found[1]) <= tail < np.mean(means >= found[1])
    plain = np.quantile(means, (0.025, 0.975))
    assert found[0] < plain[0] and found[1] > plain[1]


def test_bootstrap_takes_infinite_values_and_one_seed() -> None:
    values = np.array([1.0, math.inf, 2.0])
    assert stats.bootstrap95(lambda seeds: float(values[seeds].mean()), 3) == (1.0, math.inf)
    assert stats.bootstrap95(lambda seeds: 1.0, 1) is None


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_t_interval_covers_as_often_as_it_says(n: int) -> None:
    """20,000 experiments, of which 95% +- 0.5% (three standard errors) must cover."""
    draws = np.random.default_rng(n).normal(0.3, 2.0, size=(20_000, n))
    error = draws.std(axis=1, ddof=1) / math.sqrt(n)
    half = stats.ci95(1.0, n)
    assert half is not None
    covered = np.abs(draws.mean(axis=1) - 0.3) <= half * error
    assert covered.mean() == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize(("n", "expected"), [(3, 0.75), (4, 0.875), (8, 0.95)])
def test_bootstrap_interval_covers_as_often_as_it_says(n: int, expected: float) -> None:
    """With few seeds that is the limit that `coverage_limit` states: 2,000 experiments, three standard errors are 3%.

    With 3 and 4 the interval is that of the extreme seeds, so that the number is exact; with 8 it is approximate.
    """
    draws = np.random.default_rng(n).normal(0.3, 2.0, size=(2000, n))
    weights = np.zeros((len(stats.resamples(n)), n))
    np.add.at(weights, (np.arange(len(weights))[:, None], stats.resamples(n)), 1 / n)
    covered = 0
    for row in draws if n < 5 else draws[:400]:
        means = iter(weights @ row)
        low, high = stats.bootstrap95(lambda seeds, means=means: float(next(means)), n) or (0.0, 0.0)
        covered += low <= 0.3 <= high
    share = covered / (2000 if n < 5 else 400)
    assert share == pytest.approx(expected, abs=0.03)
    assert share <= stats.coverage_limit(n) + 0.03
