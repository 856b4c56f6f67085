"""The statistics against scipy and numpy, and against what they promise: intervals cover as often as they say."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

import ngptlab
from ngptlab.claims.evidence import Estimate
from ngptlab.claims.standard import show
from ngptlab.stats import estimates as stats

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
    found, reference = stats.difference(pairs, [0.0] * len(pairs)), scipy.stats.ttest_1samp(pairs, 0.0)
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
    found = stats.difference([1.5], [2.0])
    assert (found["mean"], found["pairs"]) == (-0.5, 1)
    assert {found[key] for key in ("stderr", "ci95", "p_t", "p_signs", "welch_ci95", "correlation")} == {None}  # type: ignore[literal-required]
    assert "one seed" in stats.in_words(found)


def test_a_difference_that_is_shown_as_zero_has_no_sign() -> None:
    assert stats.in_words(stats.difference([-1e-17, 0.0], [0.0, 0.0])).startswith("+0.0000 nats")
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
    said = stats.in_words(stats.difference(PAIRS["three"], [0.0] * 3))
    assert "Student's t, 3 paired seeds" in said and "by the paired t test" in said
    assert "0.25 by exact signs, which 3 seeds can't bring below 0.25" in said
    assert "-0.0220 nats" in said


def test_equal_pairs_have_no_t_test() -> None:
    found = stats.difference([1.25, 1.25, 1.25], [1.0, 1.0, 1.0])
    assert (found["stderr"], found["p_t"], found["welch_ci95"]) == (0.0, None, None)


def test_the_jackknife_of_a_mean_is_its_error() -> None:
    values = PAIRS["nine"]
    left_out = [float(np.mean(values[:i] + values[i + 1 :])) for i in range(9)]
    assert stats.jackknife(left_out) == pytest.approx(stats.stderr(values), rel=1e-9)


def test_the_unpaired_interval_and_the_correlation_are_scipys() -> None:
    ours, theirs = [1.0, 1.3, 0.9, 1.2], [1.5, 1.9, 1.4, 1.45]
    found = stats.difference(ours, theirs)
    low, high = scipy.stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert found["welch_ci95"] == pytest.approx((high - low) / 2, rel=1e-9)
    assert found["correlation"] == pytest.approx(scipy.stats.pearsonr(ours, theirs)[0], rel=1e-9)
    assert "unpaired ±" in stats.in_words(found) and "correlate by +0.76" in stats.in_words(found)


def test_pairing_that_cancels_nothing_is_seen() -> None:
    """Arms that go against each other: the paired interval is the wider one."""
    found = stats.difference([1.0, 1.1, 1.2], [2.2, 2.1, 2.0])
    assert found["correlation"] == pytest.approx(-1) and (found["ci95"] or 0) > (found["welch_ci95"] or 9)
    assert (
        stats.correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
        and stats.correlation([1, 2], [1, 2]) is None
    )
    assert stats.welch95([1.0, 1.0], [1.0, 1.0]) is None


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_t_interval_covers_as_often_as_it_says(n: int) -> None:
    """20,000 experiments, of which 95% +- 0.5% (three standard errors) must cover."""
    draws = np.random.default_rng(n).normal(0.3, 2.0, size=(20_000, n))
    error = draws.std(axis=1, ddof=1) / math.sqrt(n)
    half = stats.ci95(1.0, n)
    assert half is not None
    covered = np.abs(draws.mean(axis=1) - 0.3) <= half * error
    assert covered.mean() == pytest.approx(0.95, abs=0.005)


@by_pairs
def test_what_is_detectable_is_found_four_times_of_five(pairs: list[float]) -> None:
    """By scipy's noncentral t, whose tail at the limit must be 80%; and none of one value, or of values without scatter."""
    n, error = len(pairs), stats.stderr(pairs)
    distance = stats.detectable(error, n)
    assert distance is not None and error is not None
    power = scipy.stats.nct.sf(scipy.stats.t.ppf(0.975, n - 1), n - 1, distance / error)
    assert power == pytest.approx(0.8, abs=1e-6)
    assert stats.detectable(None, 1) is None and stats.detectable(0.0, 3) is None


def test_what_is_detectable_is_found_in_experiments() -> None:
    """20,000 of three normal seeds: 80% +- 0.9% (three standard errors) find a mean as far from zero as is detectable."""
    n, scatter = 3, 2.0
    distance = stats.detectable(scatter / math.sqrt(n), n)
    assert distance is not None
    draws = np.random.default_rng(0).normal(distance, scatter, size=(20_000, n))
    half = stats.t95(n - 1) * draws.std(axis=1, ddof=1) / math.sqrt(n)
    assert (draws.mean(axis=1) - half > 0).mean() == pytest.approx(stats.POWER, abs=0.009)
