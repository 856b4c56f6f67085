"""The rule of a target against plain computations and scipy, and against what it promises: how often it errs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from ngptlab.errors import ConfigError
from ngptlab.studies.target.rule import Rule, judge, look, on_the_way, scatter_beyond

LOSSES = [1.531, 1.544, 1.529, 1.538, 1.535]


def test_students_t_is_scipys() -> None:
    """Both compute in float64; only the order of sums differs."""
    rule = Rule(significance=0.01, max_seeds=6)
    assert (rule.first, rule.looks, rule.level) == (2, 5, 0.002)
    found = look([loss - 1.55 for loss in LOSSES], rule)
    below, above = (scipy.stats.ttest_1samp(LOSSES, 1.55, alternative=side) for side in ("less", "greater"))
    assert found.p_below == pytest.approx(below.pvalue, rel=1e-9)
    assert found.p_above == pytest.approx(above.pvalue, rel=1e-9)
    assert found.error == pytest.approx(scipy.stats.sem(LOSSES), rel=1e-12)
    assert found.bound == pytest.approx(below.confidence_interval(1 - 0.002).high - 1.55, rel=1e-9)
    assert found.verdict == "undecided" and found.bound is not None and found.bound > 0
    high = look([loss - 1.52 for loss in LOSSES], rule)
    expected = scipy.stats.ttest_1samp(LOSSES, 1.52, alternative="greater").confidence_interval(1 - 0.002).low
    assert high.bound == pytest.approx(expected - 1.52, rel=1e-9)


def test_a_known_sigma_gives_z_from_the_first_seed_on() -> None:
    rule = Rule(significance=0.01, max_seeds=4, sigma=0.006)
    assert (rule.first, rule.looks, rule.level) == (1, 4, 0.0025)
    found = look([-0.004, -0.006], rule)
    z = -0.005 / (0.006 / math.sqrt(2))
    assert found.error == pytest.approx(0.006 / math.sqrt(2))
    assert found.p_below == pytest.approx(scipy.stats.norm.cdf(z), rel=1e-9)
    assert found.p_above == pytest.approx(scipy.stats.norm.sf(z), rel=1e-9)
    assert found.bound == pytest.approx(-0.005 + scipy.stats.norm.isf(0.0025) * 0.006 / math.sqrt(2))
    assert judge([-0.02], rule).verdict == "reached" and judge([0.02], rule).verdict == "not reached"
    assert look([-0.02], rule, paired=True).error == pytest.approx(0.006 * math.sqrt(2)), "of both runs"


def test_the_first_look_that_decides_stands() -> None:
    """A later seed does not undo it: the run would not have been trained."""
    rule = Rule(significance=0.01, max_seeds=4, sigma=0.01)
    found = judge([-0.001, -0.08, 5.0, 5.0], rule)
    assert (found.verdict, found.seeds) == ("reached", 2)
    assert look([-0.001, -0.08, 5.0, 5.0], rule).verdict == "not reached"
    assert judge([-0.001, 0.001, -0.001, 0.001], rule).seeds == 4


@pytest.mark.parametrize("values", [[-0.1], [-0.1, -0.1], [0.0, 0.0, 0.0], [1.3 - 1.5, 1.2 - 1.4]])
def test_no_scatter_is_no_evidence(values: list[float]) -> None:
    """Of one seed, or of seeds that are all alike, nothing tells the error."""
    found = judge(values, Rule(significance=0.01, max_seeds=3))
    assert found.verdict == "undecided"
    assert (found.error, found.p_below, found.p_above, found.bound) == (None, None, None, None)


def _alone(rng: np.random.Generator) -> np.ndarray:
    return 0.004 * rng.standard_normal(8)


def _against_an_identical_arm(rng: np.random.Generator) -> np.ndarray:
    """Two arms of one kind, whose runs of one seed share half of their variance."""
    common, ours, theirs = 0.004 * rng.standard_normal((3, 8))
    difference: np.ndarray = (common + ours) - (common + theirs)
    return difference


@pytest.mark.parametrize("sigma", [None, 0.004])
@pytest.mark.parametrize("draw", [_alone, _against_an_identical_arm])
def test_looking_after_every_seed_errs_at_most_as_often_as_promised(
    draw: Callable[[np.random.Generator], np.ndarray], sigma: float | None
) -> None:
    """A mean that is the target's is declared below it in at most 10% of comparisons; at 10% a look it would be in more.

    1000 comparisons: the standard deviation of the rate is 0.009, and Bonferroni leaves more room than that.
    """
    rng, paired = np.random.default_rng(0), draw is _against_an_identical_arm
    rule = Rule(significance=0.1, max_seeds=8, sigma=sigma)
    wrong = uncorrected = 0
    for _ in range(1000):
        differences = draw(rng).tolist()
        wrong += judge(differences, rule, paired=paired).verdict == "reached"
        each = [look(differences[:n], rule, paired=paired).p_below for n in range(rule.first, 9)]
        uncorrected += any(p is not None and p < rule.significance for p in each)
    assert 0.02 < wrong / 1000 <= 0.1 < 0.15 < uncorrected / 1000


def test_a_clear_difference_is_found_soon() -> None:
    rng = np.random.default_rng(1)
    rule = Rule(significance=0.01, max_seeds=8)
    found = [judge((-0.05 + 0.004 * rng.standard_normal(8)).tolist(), rule) for _ in range(200)]
    assert all(each.verdict == "reached" for each in found)
    assert np.median([each.seeds for each in found]) <= 5


def test_a_sigma_that_is_too_small_shows() -> None:
    arms = [[1.50, 1.52, 1.54], [1.61, 1.60]]
    pooled = math.sqrt((2 * np.var(arms[0], ddof=1) + np.var(arms[1], ddof=1)) / 3)
    found = scatter_beyond(0.005, arms)
    assert found is not None and found[0] == pytest.approx(pooled)
    assert found[1] == pytest.approx(scipy.stats.chi2.sf(3 * pooled**2 / 0.005**2, 3), rel=1e-9)
    assert scatter_beyond(0.005, [[1.5], [1.6]]) is None


def test_the_first_step_at_the_target_on_the_way() -> None:
    curves = [
        [(0, 5.0), (50, 3.0), (100, 2.0)],
        [(0, 5.0), (50, 4.0), (100, 2.0)],
        [(0, 5.0), (50, 2.5), (100, 2.6)],
    ]
    assert on_the_way(curves, 2.5) == {
        "by_seed": [75.0, 87.5, 50.0],
        "median_step": 75.0,
        "range_steps": [50.0, 87.5],
    }
    some = on_the_way(curves, 2.2)
    assert some["by_seed"] == [pytest.approx(90), pytest.approx(95), None]
    assert some["median_step"] == pytest.approx(95), "a run that never was counts as later than all others"
    assert on_the_way(curves, 1.0) == {"by_seed": [None] * 3, "median_step": None, "range_steps": None}
    assert on_the_way([[(0, 5.0)]], 6.0)["by_seed"] == [0.0]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max_seeds": 1}, "--max-seeds: given 1; give at least 2 without --sigma"),
        ({"max_seeds": 0, "sigma": 0.1}, "give at least 1"),
        ({"significance": 0.5}, "--significance: given 0.5; give a chance of error above 0 and below 0.5"),
        ({"significance": math.nan}, "--significance: given nan"),
        ({"sigma": math.nan}, "--sigma: given nan"),
        ({"sigma": 0.0}, "--sigma: given 0"),
    ],
)
def test_rules_that_decide_nothing(fields: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        Rule(**({"significance": 0.01, "max_seeds": 8} | fields))  # type: ignore[arg-type]
    assert said in str(error.value)
