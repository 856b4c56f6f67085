"""The result of a grid as a search: each method's best cell, its number of runs, and fields on an edge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ngptlab.stats.cells import CellRow
from ngptlab.stats.estimates import mean
from ngptlab.stats.learning_rate import show_rate

Point = tuple[float, str]
"""A learning rate, and the other settings as text."""


@dataclass(frozen=True, kw_only=True)
class Searched:
    """One method at one width, under one set of rules."""

    method: str
    param: str
    width: int
    lr: float
    settings: str
    loss_nats: float
    """Mean loss of the best cell over the seeds that selected it. It is biased downwards, so other seeds are reported."""
    seeds: int
    runs: int
    """Number of the arm's runs, with those that diverged."""
    edges: tuple[str, ...]
    """Fields whose best value is the first or last of several numbers that were tried."""


def best(table: Sequence[CellRow]) -> list[Searched]:
    """The best point of every arm. A point counts only where all seeds of the table ended, because part of them is biased."""
    seeds = {row.seed for row in table}
    arms: dict[tuple[str, str, int], list[CellRow]] = {}
    for row in table:
        if row.over:
            arms.setdefault((row.method, row.param, row.width), []).append(row)
    found = []
    for (method, param, width), rows in arms.items():
        points: dict[Point, list[float]] = {}
        for row in rows:
            loss = math.inf if row.loss_nats is None else row.loss_nats
            points.setdefault((row.lr, row.settings), []).append(loss)
        whole = {point: losses for point, losses in points.items() if len(losses) == len(seeds)}
        (lr, settings), losses = min(
            whole.items(), key=lambda item: mean(item[1]), default=((0.0, ""), [math.inf])
        )
        if math.isfinite(mean(losses)):
            found.append(
                Searched(
                    method=method,
                    param=param,
                    width=width,
                    lr=lr,
                    settings=settings,
                    loss_nats=mean(losses),
                    seeds=len(losses),
                    runs=len(rows),
                    edges=_edges(rows, lr, settings),
                )
            )
    return found


def _edges(rows: Sequence[CellRow], lr: float, settings: str) -> tuple[str, ...]:
    tried: dict[str, set[float]] = {"optim.lr": {row.lr for row in rows}}
    for row in rows:
        for path, value in _numbers(row.settings):
            tried.setdefault(path, set()).add(value)
    chosen = {"optim.lr": lr, **dict(_numbers(settings))}
    return tuple(
        path
        for path, value in chosen.items()
        if len(tried[path]) > 1 and value in (min(tried[path]), max(tried[path]))
    )


def _numbers(settings: str) -> list[tuple[str, float]]:
    found = []
    for part in settings.split():
        path, _, value = part.partition("=")
        try:
            found.append((path, float(value)))
        except ValueError:
            continue
    return found


def searched(table: Sequence[CellRow]) -> list[str]:
    """A line for each method and width, then a warning where they had different numbers of runs."""
    arms = best(table)
    lines = [
        f"Best of {arm.runs} runs for {arm.method} ({arm.param}, width {arm.width}): {arm.loss_nats:.4f} nats at "
        f"lr {show_rate(arm.lr)}{f', {arm.settings}' if arm.settings else ''}"
        + (f"; on the edge of what was tried: {', '.join(arm.edges)}" if arm.edges else "")
        for arm in arms
    ]
    budgets = {arm.runs for arm in arms}
    if len(budgets) > 1:
        lines.append("The arms were not given equally many runs: they are not tuned alike.")
    if arms:
        lines.append("The best loss is biased, because its seeds chose it: train it again with others.")
    return lines
