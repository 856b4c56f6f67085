"""Exponents: of exact powers, over the upper half only, with the textbook's standard error."""

from __future__ import annotations

import numpy as np
import pytest

from ngptlab.bench.fit import exponent, upper_half


def test_an_exact_power() -> None:
    sizes = [64, 96, 128, 192, 256, 384, 512]
    found = exponent(sizes, [3e-9 * size**1.7 for size in sizes])
    # Logarithms of numbers near 1e-5 carry roundings of 1e-15.
    assert found.value == pytest.approx(1.7, abs=1e-12)
    assert found.stderr == pytest.approx(0, abs=1e-12)


def test_the_lower_half_has_no_say() -> None:
    assert upper_half([1, 2, 3, 4, 5]) == [3, 4, 5] and upper_half([1, 2, 3, 4]) == [3, 4]
    found = exponent([1, 2, 4, 8, 16], [7.0, 7.0, 16.0, 64.0, 256.0])
    assert found.value == pytest.approx(2, abs=1e-12) and found.stderr == pytest.approx(0, abs=1e-12)


def test_standard_error() -> None:
    sizes, costs = [1, 2, 3, 4, 5, 6, 7], [1.0, 1.0, 1.0, 2.0, 3.1, 3.2, 4.5]
    fit, covariance = np.polyfit(np.log(sizes[3:]), np.log(costs[3:]), 1, cov=True)
    found = exponent(sizes, costs)
    assert found.value == pytest.approx(fit[0], rel=1e-9)
    assert found.stderr == pytest.approx(covariance[0, 0] ** 0.5, rel=1e-9) and found.stderr > 0.05


def test_two_points_have_no_error() -> None:
    found = exponent([1, 2, 4], [1.0, 1.0, 8.0])
    assert found.value == pytest.approx(3, abs=1e-12) and found.stderr is None
