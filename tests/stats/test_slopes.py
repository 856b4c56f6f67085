"""Slopes and the verdict on sizes that are known."""

from __future__ import annotations

import pytest

from ngptlab.studies.coord.numbers import FIRST_STEP, LIMIT, Point, passed, slopes, worst

WIDTHS = (32, 64, 128)


def points(power: float, *, step: int = 3, seeds: int = 2, change: float = 1.0) -> list[Point]:
    """Sizes that grow as width ** power, seed 1's 10% above seed 0's."""
    return [
        Point(width, seed, step, "x", size=width**power * 1.1**seed, change=change)
        for width in WIDTHS
        for seed in range(seeds)
    ]


@pytest.mark.parametrize("power", [-1.0, -0.25, 0.0, 0.5, 1.0])
def test_the_slope_is_the_power(power: float) -> None:
    size, change = slopes(points(power))
    assert (size.quantity, change.quantity) == ("size", "change")
    assert size.slope == pytest.approx(power, abs=1e-12) and size.stderr == pytest.approx(0, abs=1e-12)
    assert change.slope == pytest.approx(0, abs=1e-12)
    assert size.passed == (abs(power) <= LIMIT) == passed([size, change])


def test_the_error_is_over_seeds() -> None:
    tilted = [*points(0.0, seeds=1), *(Point(w, 1, 3, "x", w**0.2, 1.0) for w in WIDTHS)]
    size = slopes(tilted)[0]
    assert size.slope == pytest.approx(0.1) and size.stderr == pytest.approx(0.1)  # 0 and 0.2
    assert slopes(points(0.0, seeds=1))[0].stderr is None


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_nothing_to_fit_is_a_failure(value: float) -> None:
    found = slopes(points(0.0, change=value))
    assert found[1].slope is None and not found[1].passed and not passed(found)


def test_the_steepest_judged_step_counts() -> None:
    rising = [point for step, power in ((2, 0.1), (3, -0.4), (4, 0.2)) for point in points(power, step=step)]
    size = worst(slopes(rising))[0]
    assert size.step == 3 and size.slope == pytest.approx(-0.4)
    early = [*points(2.0, step=FIRST_STEP - 1), *points(0.0, step=FIRST_STEP)]
    assert passed(slopes(early)), "steps before the first judged one do not count"


@pytest.mark.parametrize("sizes", [(1, 1, 1, 2), (1, 4, 4, 1), (2, 1, 1, 2), (1, 0.5, 0.5, 0.5)])
def test_a_level_line_does_not_hide_a_doubling(sizes: tuple[float, ...]) -> None:
    """Twice as large at one doubling is a slope of 1 there, whatever the line through all widths says."""
    found = slopes([Point(32 * 2**i, 0, 3, "x", size, 1.0) for i, size in enumerate(sizes)])
    assert not found[0].passed and not passed(found)
    assert abs(found[0].steepest or 0) >= 1


def test_nothing_measured_passes_nothing() -> None:
    assert not passed([]) and not passed(slopes(points(0.0, step=FIRST_STEP - 1)))
    assert not passed(slopes([Point(32, 0, 3, "x", 1.0, 1.0)])), "one width has no slope"
