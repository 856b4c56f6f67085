"""Coordinate descent against the whole grid, and its promises: resumable, equal budgets, no loss asked for twice."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from ngptlab.studies.search.descent import Point, climb, diagonals, next_points

SIZES = [6, 5, 4]


def bowl(at: tuple[float, ...], tilt: float = 0.0) -> dict[Point, float]:
    """A loss with its minimum at `at`; with a tilt the best value of one field depends on another."""
    found = {}
    for point in product(*map(range, SIZES)):
        d = [a - b for a, b in zip(point, at, strict=True)]
        found[point] = sum(x * x for x in d) + tilt * d[0] * d[1]
    return found


def descend(truth: dict[Point, float], start: Point) -> tuple[Point, dict[Point, float]]:
    known: dict[Point, float] = {}
    while True:
        at, wanted = climb(SIZES, start, known.get)
        if not wanted:
            return at, known
        assert not set(wanted) & set(known), "a loss is asked for once"
        known |= {point: truth[point] for point in wanted}


@pytest.mark.parametrize("tilt", [0.0, 0.9])
@pytest.mark.parametrize("best", [(0, 0, 0), (3, 1, 2), (5, 4, 3)])
def test_it_ends_where_no_neighbour_is_lower(best: Point, tilt: float) -> None:
    truth = bowl(best, tilt)
    at, known = descend(truth, (2, 2, 0))
    assert truth[at] == min(truth.values())
    assert len(known) < len(truth) / 3


def test_it_goes_on_where_it_was() -> None:
    """Known losses alone decide: descent from any part of them asks for what is missing and ends at the same point."""
    draw = np.random.default_rng(3)
    truth = {point: float(draw.normal()) for point in product(*map(range, SIZES))}
    at, known = descend(truth, (2, 2, 2))
    part = dict(list(known.items())[: len(known) // 2])
    while wanted := climb(SIZES, (2, 2, 2), part.get)[1]:
        part |= {point: truth[point] for point in wanted}
    assert climb(SIZES, (2, 2, 2), part.get)[0] == at and part == known


def test_a_run_that_diverged_is_worse_than_all() -> None:
    truth = {point: math.inf if point[0] > 2 else loss for point, loss in bowl((2, 1, 1)).items()}
    assert descend(truth, (2, 4, 3))[0] == (2, 1, 1)


def test_diagonals_are_new_and_near() -> None:
    known = {(2, 2, 2): 0.0, (1, 1, 2): 1.0}
    found = diagonals(SIZES, (2, 2, 2), known.get)
    assert not set(found) & set(known) and len(set(found)) == len(found)
    assert all(max(abs(a - b) for a, b in zip(p, (2, 2, 2), strict=True)) == 1 for p in found)
    counts = [sum(a != b for a, b in zip(p, (2, 2, 2), strict=True)) for p in found]
    assert counts == sorted(counts) and counts[0] == 2


def test_arms_get_equally_many_runs() -> None:
    """One arm has two fields fewer, and a surface on which descent ends at once."""
    sizes = {"a": SIZES, "b": [6]}
    truth = {"a": bowl((4, 3, 0), 0.5), "b": {(i,): abs(i - 2.0) for i in range(6)}}
    losses: dict[str, dict[Point, float]] = {"a": {}, "b": {}}
    starts = {"a": (0, 0, 3), "b": (2,)}
    while any(wanted := next_points(sizes, starts, losses).values()):
        for arm, points in zip(sizes, wanted, strict=True):
            losses[arm] |= {point: truth[arm][point] for point in points}
    assert len(losses["b"]) == 6, "all there are"
    assert len(losses["a"]) > 6 and min(losses["a"], key=lambda p: losses["a"][p]) == (4, 3, 0)
    twins: dict[str, dict[Point, float]] = {"a": {}, "b": {}}
    truth = {"a": bowl((4, 3, 0), 0.5), "b": bowl((2, 2, 1))}
    sizes, starts = {"a": SIZES, "b": SIZES}, {"a": (0, 0, 3), "b": (2, 2, 1)}
    while any(wanted := next_points(sizes, starts, twins).values()):
        for arm, points in zip(sizes, wanted, strict=True):
            twins[arm] |= {point: truth[arm][point] for point in points}
    assert len(twins["a"]) == len(twins["b"])


def test_a_budget_ends_every_arm_at_the_same_number() -> None:
    sizes, starts = {"a": SIZES, "b": SIZES}, {"a": (0, 0, 3), "b": (2, 2, 1)}
    truth = {"a": bowl((4, 3, 0), 0.5), "b": bowl((2, 2, 1))}
    losses: dict[str, dict[Point, float]] = {"a": {}, "b": {}}
    while any((wanted := next_points(sizes, starts, losses, budget=11)).values()):
        for arm, points in wanted.items():
            losses[arm] |= {point: truth[arm][point] for point in points}
    assert {arm: len(known) for arm, known in losses.items()} == {"a": 11, "b": 11}


def test_no_point_is_given_twice() -> None:
    """Beyond its diagonal neighbours an arm is given the rest: each point is trained once, by one process."""
    sizes = {"a": [9, 9, 3], "b": [4, 4]}
    truth = {
        arm: {p: float(sum(4 - x if arm == "a" else x for x in p)) for p in product(*map(range, of))}
        for arm, of in sizes.items()
    }
    losses: dict[str, dict[Point, float]] = {"a": {}, "b": {}}
    while any((wanted := next_points(sizes, {"a": (0, 0, 0), "b": (0, 0)}, losses)).values()):
        for arm, points in wanted.items():
            assert len(set(points)) == len(points) and not set(points) & set(losses[arm])
            losses[arm] |= {point: truth[arm][point] for point in points}
    assert len(losses["b"]) == 16, "all there are"
