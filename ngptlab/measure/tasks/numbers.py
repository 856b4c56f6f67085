"""Downstream tasks of several runs side by side: values, errors, chance, and differences from the first run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from ngptlab.stats.estimates import mean, stderr

AVERAGE = "average"
HEADLINE = ("acc_norm", "acc")
"""The metric of a task that enters the average: the first of these that the task has."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A metric of a task by row. The mean of `values` is the metric, and the mean's standard error is the metric's."""

    task: str
    metric: str
    chance: float | None
    """Score of a guess; None where a guess has no meaning."""
    version: float
    data: str
    data_digest: str
    values: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """All metrics of one run."""

    run: str
    """The run's label, unique in the table."""
    step: int
    max_length: int
    measured: Sequence[Measured]


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """A line of the table. None: there is no such number."""

    task: str
    metric: str
    run: str
    step: int
    max_length: int
    rows: int
    value: float
    stderr: float | None = None
    """Standard error over rows; for an average, from the errors of its tasks."""
    chance: float | None = None
    difference: float | None = None
    """The value minus the first run's value."""
    difference_stderr: float | None = None
    """Standard error of the difference, from the differences row by row."""
    version: float | None = None
    data: str = ""
    data_digest: str = ""


class Metric(TypedDict):
    """A metric's mean over the rows of a task, with its standard error."""

    value: float
    stderr: float | None


class Task(TypedDict):
    """A task in a run's tasks.json; the fields are those of `TaskScore`."""

    version: float
    data: str
    data_digest: str
    rows: int
    all_rows: int
    requests: int
    cut: int
    chance: float
    metrics: dict[str, Metric]


class Tasks(TypedDict):
    """The content of a run's tasks.json."""

    eval: str
    step: int
    lm_eval: str
    max_length: int
    limit: int | None
    tasks: dict[str, Task]


def compare(runs: Sequence[Scores]) -> list[ScoreRow]:
    """The table's lines, by task and metric, then by run; the average of accuracies last.

    All runs must have the same tasks on the same rows.
    """
    lines = [
        _line(run, own, None if run is runs[0] else first)
        for first in runs[0].measured
        for run in runs
        for own in run.measured
        if (own.task, own.metric) == (first.task, first.metric)
    ]
    return lines + [
        _average(run, [line for line in _headlines(lines) if line.run == run.run]) for run in runs
    ]


def _line(run: Scores, own: Measured, first: Measured | None) -> ScoreRow:
    differences = None if first is None else (own.values - first.values).tolist()
    return ScoreRow(
        task=own.task,
        metric=own.metric,
        run=run.run,
        step=run.step,
        max_length=run.max_length,
        rows=len(own.values),
        value=mean(own.values.tolist()),
        stderr=stderr(own.values.tolist()),
        chance=own.chance,
        difference=None if differences is None else mean(differences),
        difference_stderr=None if differences is None else stderr(differences),
        version=own.version,
        data=own.data,
        data_digest=own.data_digest,
    )


def _headlines(lines: Sequence[ScoreRow]) -> list[ScoreRow]:
    best: dict[str, str] = {}
    for line in lines:
        if line.metric in HEADLINE:
            best[line.task] = min(best.get(line.task, line.metric), line.metric, key=HEADLINE.index)
    return [line for line in lines if best.get(line.task) == line.metric]


def _average(run: Scores, lines: Sequence[ScoreRow]) -> ScoreRow:
    """Mean over tasks with equal weights. Tasks have different rows, so their errors are independent."""
    differences = [line.difference for line in lines if line.difference is not None]
    return ScoreRow(
        task=AVERAGE,
        metric="accuracy",
        run=run.run,
        step=run.step,
        max_length=run.max_length,
        rows=sum(line.rows for line in lines),
        value=mean([line.value for line in lines]),
        stderr=_of_mean([line.stderr for line in lines]),
        chance=mean([line.chance or 0.0 for line in lines]),
        difference=mean(differences) if differences else None,
        difference_stderr=_of_mean([line.difference_stderr for line in lines]),
    )


def _of_mean(errors: Sequence[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    return math.hypot(*known) / len(known) if known and len(known) == len(errors) else None
