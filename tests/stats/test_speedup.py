"""The speed-up on curves whose speed-up is known: some, none, negative, never reached, noisy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ngptlab.stats.speedup import Bounded, points

Floats = NDArray[np.float64]
TOKENS = [1e6 * 2.0**power for power in range(6)]
"""Six lengths, each twice the one before."""


def curve(tokens: list[float] | Floats, *, speedup: float = 1.0, floor: float = 1.5) -> Floats:
    """Loss of a power law; `speedup` times the tokens are as good as that many more."""
    return floor + 40.0 * (np.asarray(tokens) * speedup) ** -0.25


def need(tokens: list[float], losses: list[float], target: float) -> Bounded:
    """What a baseline with these losses needs for one loss of a method."""
    (point,) = points([1.0], np.array([[target]]), tokens, np.array([losses]))
    return point.need


def factors(speedup: float, **how: float) -> list[dict[str, object]]:
    found = points(TOKENS, curve(TOKENS, speedup=speedup, **how)[None], TOKENS, curve(TOKENS)[None])
    return [dict(point.factor) for point in found]


@pytest.mark.parametrize("speedup", [1.7, 1.0, 0.6])
def test_a_known_speed_up(speedup: float) -> None:
    """Some, none, negative. Between lengths the cubic is within 1% in tokens of this power law; at them it is exact."""
    inside = [f for f in factors(speedup) if f["bound"] == "measured"]
    assert len(inside) == (6 if speedup == 1.0 else 5)
    tolerance = 1e-9 if speedup == 1.0 else 0.01
    assert all(f["value"] == pytest.approx(speedup, rel=tolerance) for f in inside)


def test_beyond_the_measured_losses_there_is_a_bound() -> None:
    ahead, behind = factors(1.7), factors(0.6)
    assert ahead[-1] == {"value": 1.0, "bound": "at least"}, "its loss is below the baseline's last"
    assert behind[0] == {"value": 1.0, "bound": "at most"}, "its loss is above the baseline's first"
    never = factors(1.0, floor=1.0)  # below the baseline's last loss everywhere, or nearly
    assert never[-1]["bound"] == "at least" and never[-3] == {"value": 4.0, "bound": "at least"}


def test_curves_that_never_cross() -> None:
    below, above = curve(TOKENS) - 9.0, curve(TOKENS) + 9.0
    low = points(TOKENS, below[None], TOKENS, curve(TOKENS)[None])
    assert [p.factor for p in low] == [{"value": TOKENS[-1] / t, "bound": "at least"} for t in TOKENS]
    high = points(TOKENS, above[None], TOKENS, curve(TOKENS)[None])
    assert [p.factor for p in high] == [{"value": TOKENS[0] / t, "bound": "at most"} for t in TOKENS]


def test_need_is_exact_at_measured_lengths_and_monotone_between() -> None:
    losses = [3.0, 2.5, 2.4, 2.0]
    tokens = [1.0, 2.0, 8.0, 16.0]
    for count, loss in zip(tokens, losses, strict=True):
        assert need(tokens, losses, loss)["value"] == pytest.approx(count, rel=1e-12)
    wanted = np.linspace(3.0, 2.0, 101)
    found = [need(tokens, losses, float(loss))["value"] for loss in wanted]
    assert (np.diff(found) > 0).all()
    # Through log tokens: half-way in loss between two lengths of a curve without a third is their geometric mean.
    assert need([1.0, 16.0], [3.0, 2.0], 2.5)["value"] == pytest.approx(4.0)


def test_a_loss_that_rises_again_counts_as_flat() -> None:
    """3.0, 2.2, 2.4 is pooled to 3.0, 2.3, 2.3: what is reached is reached at the first of equal losses."""
    assert need([1.0, 2.0, 4.0], [3.0, 2.2, 2.4], 2.3) == {"value": pytest.approx(2.0), "bound": "measured"}
    assert need([1.0, 2.0, 4.0], [3.0, 2.2, 2.4], 2.25) == {"value": 4.0, "bound": "at least"}
    assert need([1.0, 2.0], [2.0, 2.0], 2.0) == {"value": 1.0, "bound": "measured"}


def test_seeds_are_left_out_in_pairs() -> None:
    """What a seed does to both arms alike hardly widens the interval; what it does to one does."""
    shift = np.array([[-0.2], [0.0], [0.2]])
    both = points(TOKENS, curve(TOKENS, speedup=1.5) + shift, TOKENS, curve(TOKENS) + shift)[2].interval
    one = points(TOKENS, curve(TOKENS, speedup=1.5) + shift, TOKENS, curve(TOKENS) + 0 * shift)[2].interval
    assert both and one
    assert both[1]["value"] - both[0]["value"] < 0.01
    assert one[1]["value"] / one[0]["value"] > 1.2


def test_no_interval_where_a_seed_decides_whether_the_factor_was_measured() -> None:
    """Without the best seed of the method the loss is reached; without the worst it lies below all of the baseline's."""
    noise = np.array([[-0.05], [0.0], [0.05]])
    found = points(TOKENS, curve(TOKENS, speedup=1.9) + noise, TOKENS, curve(TOKENS) + 0 * noise)[4]
    assert found.factor["bound"] == "measured" and found.interval is None


def test_one_seed_has_no_interval() -> None:
    (point, *_) = points(TOKENS, curve(TOKENS)[None], TOKENS, curve(TOKENS)[None])
    assert point.interval is None


@pytest.mark.parametrize(
    ("seeds", "experiments"), [(3, 150), pytest.param(3, 1000, marks=pytest.mark.slow), (8, 100)]
)
def test_noisy_intervals_cover_as_often_as_they_say(seeds: int, experiments: int) -> None:
    """A seed shifts both arms, and noise each run: 95% of the intervals hold the truth, with three seeds too.

    The truth is the factor of the noiseless curves through the same interpolation. The tolerance is three standard errors.
    """
    tokens = TOKENS[::2]
    truth = points(tokens, curve(tokens, speedup=1.6)[None], tokens, curve(tokens)[None])[1].factor["value"]
    assert truth == pytest.approx(1.6, rel=0.02)
    draw, covered = np.random.default_rng(1), 0
    for _ in range(experiments):
        shift = draw.normal(0, 0.05, (seeds, 1))
        ours, theirs = (
            curve(tokens, speedup=factor) + shift + draw.normal(0, 0.01, (seeds, len(tokens)))
            for factor in (1.6, 1.0)
        )
        interval = points(tokens, ours, tokens, theirs)[1].interval
        assert interval
        covered += interval[0]["value"] <= truth <= interval[1]["value"]
    assert covered / experiments == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / experiments))
