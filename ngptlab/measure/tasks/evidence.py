"""Evidence of accuracy on downstream tasks."""

from __future__ import annotations

from typing import Any

from ngptlab.claims.evidence import Accuracy, Evidence
from ngptlab.claims.reading import Reader, shown
from ngptlab.measure.recorded import Key, OfOneRun, by_run, where
from ngptlab.measure.tasks.numbers import AVERAGE, HEADLINE, ScoreRow, Tasks
from ngptlab.stats import estimates as stats
from ngptlab.stats.declared import parsed


def accuracies(content: Any, origin: str) -> Evidence:
    """Evidence of tasks.json over several runs, with an entry for each task and metric of a run; the average is one."""
    found = []
    for run in by_run([vars(row) for row in parsed(list[ScoreRow], content)]):
        tasks = tuple(sorted({shown(row["task"]) for row in run if row["task"] != AVERAGE}))
        for row in run:
            if row["task"] == AVERAGE:  # the other lines have their task's data in `data`
                whose = where(row, origin)
                whose["group"] = (*whose["group"], tasks)
                found.append(Accuracy(**whose, tasks=tasks, average=row["value"]))
    return Evidence(accuracies=found)


def of_run(content: Any, key: Key, whose: dict[str, Any]) -> Evidence:
    """Evidence of a run's own tasks.json; none where a task has no headline metric."""
    scores = parsed(Tasks, content)
    tasks, average = tuple(sorted(scores["tasks"])), _average(scores)
    if average is None:
        return Evidence()
    group = (key, scores["max_length"], scores["limit"], tasks)
    return Evidence(accuracies=[Accuracy(**whose, group=group, tasks=tasks, average=average)])


def _average(scores: Tasks) -> float | None:
    """Average of the headline metrics, as in `measure.tasks.numbers`; None where a task has none."""
    metrics = [task["metrics"] for task in scores["tasks"].values()]
    first = [next((each[name]["value"] for name in HEADLINE if name in each), None) for each in metrics]
    known = [value for value in first if value is not None]
    return stats.mean(known) if known else None


READERS = (Reader(frozenset({"task", "metric", "run", "value"}), accuracies, rows=True),)
OF_ONE_RUN = OfOneRun("tasks", of_run)
