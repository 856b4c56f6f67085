"""Evidence of accuracy on downstream tasks."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from ngptlab.claims.evidence import Accuracy, Evidence
from ngptlab.claims.reading import Read, Reader, shown
from ngptlab.measure.recorded import Key, OfOneRun, OfRun, by_run
from ngptlab.measure.tasks.numbers import AVERAGE, HEADLINE
from ngptlab.stats import estimates as stats


class _Score(OfRun):
    task: str
    metric: str
    value: float


def accuracies(held: Any, origin: str) -> Evidence:
    """tasks.json: a line a task and metric of a run, the average among them."""
    rows = TypeAdapter(list[_Score]).validate_python(held)
    found = []
    for run in by_run(rows):
        tasks = tuple(sorted({shown(row.task) for row in run if row.task != AVERAGE}))
        for row in run:
            if row.task == AVERAGE:  # the other lines have their task's data in `data`
                whose = row.where(origin)
                whose["group"] = (*whose["group"], tasks)
                found.append(Accuracy(**whose, tasks=tasks, average=row.value))
    return Evidence(accuracies=found)


class _Metric(Read):
    value: float


class _Task(Read):
    metrics: dict[str, _Metric]


class _Tasks(Read):
    max_length: int
    limit: int | None
    tasks: dict[str, _Task]

    @property
    def average(self) -> float | None:
        """Of the headline metrics, as `measure.tasks.numbers` averages them; None where a task has none."""
        first = [
            next((task.metrics[m].value for m in HEADLINE if m in task.metrics), None)
            for task in self.tasks.values()
        ]
        known = [value for value in first if value is not None]
        return stats.mean(known) if known else None


def of_run(held: Any, key: Key, whose: dict[str, Any]) -> Evidence:
    """tasks.json of a run; nothing where a task has no headline metric."""
    scores = _Tasks.model_validate(held)
    tasks, average = tuple(sorted(scores.tasks)), scores.average
    if average is None:
        return Evidence()
    group = (key, scores.max_length, scores.limit, tasks)
    return Evidence(accuracies=[Accuracy(**whose, group=group, tasks=tasks, average=average)])


READERS = (Reader(frozenset({"task", "metric", "run", "value"}), accuracies, rows=True),)
OF_ONE_RUN = OfOneRun("tasks", of_run)
