"""Coordinate descent over a grid of settings, as a pure function of the losses that are known.

A point is an index into the values of each field. `climb` goes along one field after the other to a neighbour with a lower
loss, until no neighbour along any field is lower. It stops where it needs unknown losses. The caller measures them and calls
it again, so a search that was stopped can go on, on any machine that has its losses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product

Point = tuple[int, ...]
Loss = Callable[[Point], float | None]
"""Loss at a point: infinite where training diverged, None where it is not known."""


def climb(sizes: Sequence[int], start: Point, loss: Loss) -> tuple[Point, list[Point]]:
    """The point that descent from `start` has reached, and points whose losses it needs next; none where it has ended.

    Args:
        sizes: number of values of each field.
    """
    at, moved = start, True
    while moved:
        moved = False
        for field in range(len(sizes)):
            while True:
                around = [at, *_along(sizes, at, field)]
                if missing := [point for point in around if loss(point) is None]:
                    return at, missing
                lowest = min(around, key=lambda point: _known(loss, point))
                if _known(loss, lowest) >= _known(loss, at):
                    break
                at, moved = lowest, True
    return at, []


def diagonals(sizes: Sequence[int], at: Point, loss: Loss) -> list[Point]:
    """Points not measured yet that differ from `at` by a step in two fields, or in three, ...; in a fixed order.

    They serve an arm with fewer fields than another. Its descent ends earlier, but both have the same number of runs.
    """
    found = []
    for many in range(2, len(sizes) + 1):
        for fields in combinations(range(len(sizes)), many):
            for steps in product((-1, 1), repeat=many):
                point = list(at)
                for field, step in zip(fields, steps, strict=True):
                    point[field] += step
                if _inside(sizes, point) and loss(tuple(point)) is None:
                    found.append(tuple(point))
    return found


def rest(sizes: Sequence[int], at: Point, loss: Loss) -> list[Point]:
    """All points not measured yet, the nearest to `at` first."""
    points = (point for point in product(*map(range, sizes)) if loss(point) is None)
    return sorted(points, key=lambda point: sum(abs(a - b) for a, b in zip(point, at, strict=True)))


def next_points(
    sizes: Mapping[str, Sequence[int]],
    starts: Mapping[str, Point],
    losses: Mapping[str, Mapping[Point, float]],
    budget: int | None = None,
) -> dict[str, list[Point]]:
    """The points that each arm measures next; none for any arm where the search has ended.

    `budget` is the most points of an arm. With it, descent may end although a neighbour is lower.

    All arms have as many runs as the one with the longest descent. An arm spends runs that are left over on diagonal
    neighbours of its best point; if one of them is better, descent goes on from there.
    """
    at, wanted = {}, {}
    for arm, start in starts.items():
        known = losses[arm]
        best = min(known, key=lambda point: known[point], default=start)
        at[arm], wanted[arm] = climb(sizes[arm], best if known.get(start) is not None else start, known.get)
    if budget is not None:
        wanted = {arm: points[: max(0, budget - len(losses[arm]))] for arm, points in wanted.items()}
    if any(wanted.values()):
        return wanted
    most = max(map(len, losses.values()))
    found = {}
    for arm, known in losses.items():
        near = diagonals(sizes[arm], at[arm], known.get) + rest(sizes[arm], at[arm], known.get)
        # `rest` repeats the diagonals, and a point named twice would be trained by two processes at once.
        found[arm] = list(dict.fromkeys(near))[: most - len(known)]
    return found


def _along(sizes: Sequence[int], at: Point, field: int) -> list[Point]:
    points = ([*at[:field], at[field] + step, *at[field + 1 :]] for step in (-1, 1))
    return [tuple(point) for point in points if _inside(sizes, point)]


def _inside(sizes: Sequence[int], point: Sequence[int]) -> bool:
    return all(0 <= index < size for index, size in zip(point, sizes, strict=True))


def _known(loss: Loss, point: Point) -> float:
    value = loss(point)
    assert value is not None
    return math.inf if math.isnan(value) else value
