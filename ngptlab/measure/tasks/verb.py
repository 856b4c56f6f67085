"""`ngptlab eval --evals tasks`: ARC-Easy, HellaSwag, WinoGrande, WSC273 and LAMBADA, through lm-eval."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ngptlab.measure.labels import labels
from ngptlab.measure.progress import Progress
from ngptlab.measure.tasks.files import FILES
from ngptlab.options.types import count
from ngptlab.terminal import remark, say

if TYPE_CHECKING:
    from ngptlab.measure.tasks.measure import LoadedTask, TaskScore
    from ngptlab.measure.tasks.numbers import Measured, Scores, Task
    from ngptlab.measure.trained import Trained


def add(options: argparse._ArgumentGroup) -> None:
    """Add the options that only this evaluation has."""
    options.add_argument(
        "--tasks",
        nargs="+",
        choices=FILES,
        default=[],
        metavar="T",
        help=f"which (default: all): {', '.join(FILES)}",
    )
    options.add_argument(
        "--tasks-dir", type=Path, metavar="DIR", help="folder of local files (default: the hub's data sets)"
    )
    options.add_argument("--limit", type=count, metavar="N", help="first N rows of each task (default: all)")
    options.add_argument(
        "--max-length",
        type=count,
        metavar="T",
        help="longest input in tokens, cut from the left (default: the run's train.context)",
    )


def need() -> None:
    """Check that lm-eval is installed.

    Raises:
        ConfigError: lm-eval is not installed.
    """
    from ngptlab.measure.tasks.measure import need_lm_eval

    need_lm_eval()


def act(models: Sequence[Trained], options: argparse.Namespace, out: Path) -> None:
    """Score each model, keep the numbers in its run, write and print the table over all runs."""
    from ngptlab.measure.tasks.measure import load_hub, load_local

    names = list(dict.fromkeys(options.tasks))
    loaded = load_local(names, options.tasks_dir) if options.tasks_dir else load_hub(names)
    named = zip(labels(models), models, strict=True)
    _table([_score(label, trained, loaded, options) for label, trained in named], out)


def _score(label: str, trained: Trained, loaded: Sequence[LoadedTask], options: argparse.Namespace) -> Scores:
    from importlib import metadata

    from ngptlab.data.tokens.choose import tokenizer
    from ngptlab.measure.tasks.adapter import LabLM
    from ngptlab.measure.tasks.measure import score
    from ngptlab.measure.tasks.numbers import Scores, Tasks

    max_length = options.max_length or trained.config.train.context
    scores = []
    with Progress(label) as progress:
        model = LabLM(
            trained.model,
            tokenizer(trained.config.data.tokenizer, trained.config.data.end_of_text),
            max_length=max_length,
            tell=progress.tell,
        )
        for task in loaded:
            progress.begin(task.name)
            scores.append(score(model, task, limit=options.limit))
    record: Tasks = {
        "eval": "tasks",
        "step": trained.step,
        "lm_eval": metadata.version("lm-eval"),
        "max_length": max_length,
        "limit": options.limit,
        "tasks": {score.name: _record(score) for score in scores},
    }
    trained.run.keep_eval("tasks", record)
    if model.cut:
        cut = f"{model.cut:,} of {model.requests:,} inputs were cut to {max_length} tokens; see --max-length"
        remark(f"{label}: {cut}")
    measured = [part for score in scores for part in _measured(score)]
    return Scores(run=label, step=trained.step, max_length=max_length, measured=measured)


def _measured(score: TaskScore) -> list[Measured]:
    from ngptlab.measure.tasks.numbers import Measured

    return [
        Measured(
            task=score.name,
            metric=metric,
            chance=None if metric == "perplexity" else score.chance,
            version=score.version,
            data=score.data,
            data_digest=score.data_digest,
            values=values,
        )
        for metric, values in score.values.items()
    ]


def _record(score: TaskScore) -> Task:
    from ngptlab.stats.estimates import mean, stderr

    return {
        "version": score.version,
        "data": score.data,
        "data_digest": score.data_digest,
        "rows": score.rows,
        "all_rows": score.all_rows,
        "requests": score.requests,
        "cut": score.cut,
        "chance": score.chance,
        "metrics": {
            metric: {"value": mean(values.tolist()), "stderr": stderr(values.tolist())}
            for metric, values in score.values.items()
        },
    }


def _table(runs: Sequence[Scores], out: Path) -> None:
    from ngptlab.console import Console
    from ngptlab.measure.tasks.numbers import compare
    from ngptlab.measure.tasks.show import print_tasks, write_tasks

    lines = compare(runs)
    print_tasks(lines, Console())
    write_tasks(lines, out)
    say(f"The table: {out / 'tasks.csv'}")
