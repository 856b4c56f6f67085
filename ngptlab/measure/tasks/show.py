"""The table of downstream tasks as `tasks.json`, `tasks.csv`, and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ngptlab.console import Console
from ngptlab.disk import write_json, write_text
from ngptlab.listing import Listing
from ngptlab.measure.tasks.numbers import ScoreRow
from ngptlab.stats.declared import plain
from ngptlab.stats.estimates import ci95
from ngptlab.stats.tables import of_records, writing


def write_tasks(lines: Sequence[ScoreRow], out: Path) -> None:
    """Write tasks.json and tasks.csv into `out`.

    Raises:
        ConfigError: `out` can't be written.
    """
    with writing(out):
        write_json(out / "tasks.json", {"rows": plain(list(lines))})
        write_text(out / "tasks.csv", of_records(ScoreRow, lines))


def print_tasks(lines: Sequence[ScoreRow], console: Console) -> None:
    """Print a line for each task and metric, a column for each run, and in brackets the difference from the first run."""
    runs = list(dict.fromkeys((line.run, line.step) for line in lines))
    title = "± 95% over rows (Student's t), of each run alone"
    if len(runs) > 1:
        title += "; in brackets the difference from the first run, paired by row"
    table = Listing()
    for heading in ("task", "metric", "rows", "chance"):
        table.add_column(heading, "word" if heading in ("task", "metric") else "number")
    for run, step in runs:
        table.add_column(f"{run}, step {step}")
    for task, metric in dict.fromkeys((line.task, line.metric) for line in lines):
        row = [line for line in lines if (line.task, line.metric) == (task, metric)]
        chance = "" if row[0].chance is None else f"{row[0].chance:.4f}"
        table.add_row(task, metric, f"{row[0].rows:,}", chance, *map(_cell, row))
    console.print(title)
    console.print(table)


def _cell(line: ScoreRow) -> str:
    text = _with_error(_short(line.value), ci95(line.stderr, line.rows))
    if line.difference is None:
        return text
    sign = "+" if line.difference >= 0 else ""
    return f"{text} ({_with_error(sign + _short(line.difference), ci95(line.difference_stderr, line.rows))})"


def _with_error(value: str, error: float | None) -> str:
    return value if error is None else f"{value} ± {_short(error)}"


def _short(value: float) -> str:
    """A value as text: accuracies with four places, perplexities with four digits."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"
