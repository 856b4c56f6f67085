"""The table of downstream tasks, against numbers computed by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ngptlab.measure.tasks.numbers import AVERAGE, Measured, ScoreRow, Scores, compare
from ngptlab.measure.tasks.show import print_tasks, write_tasks

ROWS = {
    ("first", "two"): [1, 0, 0, 1, 1, 0],
    ("second", "two"): [1, 1, 0, 1, 1, 1],
    ("first", "four"): [0, 0, 0, 1],
    ("second", "four"): [0, 1, 0, 0],
}


def scores(run: str) -> Scores:
    def measured(task: str, metric: str, values: list[float], chance: float | None) -> Measured:
        return Measured(
            task=task,
            metric=metric,
            chance=chance,
            version=1.0,
            data="f",
            data_digest="d",
            values=np.array(values),
        )

    half = [0.5 * value for value in ROWS[run, "four"]]
    return Scores(
        run=run,
        step=8,
        max_length=16,
        measured=[
            measured("two", "acc", ROWS[run, "two"], 0.5),
            measured("four", "acc", half, 0.25),
            measured("four", "acc_norm", ROWS[run, "four"], 0.25),
            measured("word", "perplexity", [3.0, 5.0], None),
        ],
    )


@pytest.fixture
def lines() -> list[ScoreRow]:
    return compare([scores("first"), scores("second")])


def one(lines: list[ScoreRow], task: str, metric: str, run: str) -> ScoreRow:
    (found,) = [line for line in lines if (line.task, line.metric, line.run) == (task, metric, run)]
    return found


def test_values_and_paired_differences(lines: list[ScoreRow]) -> None:
    first, second = one(lines, "two", "acc", "first"), one(lines, "two", "acc", "second")
    assert (first.value, first.rows, first.chance) == (0.5, 6, 0.5)
    assert first.stderr == pytest.approx(math.sqrt(6 * 0.25 / 5 / 6))
    assert first.difference is None and first.difference_stderr is None
    # Differences by row: 0 1 0 0 0 1. Errors of independent samples would be 0.28.
    assert second.difference == pytest.approx(1 / 3)
    assert second.difference_stderr == pytest.approx(math.sqrt((4 * (1 / 9) + 2 * (4 / 9)) / 5 / 6))


def test_the_average_takes_normed_accuracy_where_there_is_one(lines: list[ScoreRow]) -> None:
    first, second = one(lines, AVERAGE, "accuracy", "first"), one(lines, AVERAGE, "accuracy", "second")
    assert first.value == pytest.approx((0.5 + 0.25) / 2) and first.chance == pytest.approx(0.375)
    assert second.value == pytest.approx((5 / 6 + 0.25) / 2)
    assert second.difference == pytest.approx(second.value - first.value)
    parts = [one(lines, "two", "acc", "second"), one(lines, "four", "acc_norm", "second")]
    assert second.stderr == pytest.approx(math.sqrt(sum(part.stderr**2 for part in parts)) / 2)
    assert second.difference_stderr == pytest.approx(
        math.sqrt(sum(part.difference_stderr**2 for part in parts)) / 2
    )
    assert first.rows == 10


def test_files_and_terminal(lines: list[ScoreRow], tmp_path: Path) -> None:
    write_tasks(lines, tmp_path)
    rows = list(csv.DictReader((tmp_path / "tasks.csv").read_text().splitlines()))
    kept = json.loads((tmp_path / "tasks.json").read_text())["rows"]
    assert len(rows) == len(kept) == len(lines) == 10
    assert [float(row["value"]) for row in rows] == [row["value"] for row in kept]
    assert rows[0]["difference"] == "" and kept[0]["difference"] is None
    console = Console(width=200, record=True, file=io.StringIO())
    print_tasks(lines, console)
    shown = console.export_text()
    assert "0.8333 ± 0.4284 (+0.3333 ± 0.5419)" in shown and "first, step 8" in shown
    assert len(shown.strip().splitlines()) == 1 + 1 + 5


def test_one_row_has_no_error() -> None:
    single = Measured(
        task="t", metric="acc", chance=0.5, version=1.0, data="", data_digest="", values=np.ones(1)
    )
    lines = compare([Scores(run="a", step=1, max_length=8, measured=[single])])
    assert [line.stderr for line in lines] == [None, None]
    assert lines[1].difference is None and lines[1].difference_stderr is None
