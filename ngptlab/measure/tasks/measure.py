"""Downstream tasks through lm-eval: its prompts and scoring, local files or its own data sets, and values by row."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ngptlab.errors import ConfigError, DataError
from ngptlab.measure.tasks.files import FILES, digest, find

if TYPE_CHECKING:
    from ngptlab.measure.tasks.adapter import LabLM

HUB_FOLDERS = ("arc", "hellaswag", "winogrande", "wsc273", "lambada")
"""Folders of lm-eval that define the tasks of `FILES`. Reading its other 220 would only take time."""


@dataclass(frozen=True)
class LoadedTask:
    """A task of lm-eval with its rows and their origin."""

    name: str
    task: Any
    data: str
    """Name of the file, or of the data set on the hub."""
    data_digest: str
    """`sha256:...` of the file, or `fingerprint:...` as `datasets` gives it."""


@dataclass(frozen=True)
class TaskScore:
    """A model's score on a task."""

    name: str
    version: float
    data: str
    data_digest: str
    rows: int
    """Number of rows measured."""
    all_rows: int
    """Number of rows of the task."""
    requests: int
    """Number of continuations scored."""
    cut: int
    """Number of continuations scored from less than their whole context."""
    chance: float
    """Accuracy of a guess: mean of 1 / number of choices; 0 where a word is asked for."""
    values: dict[str, NDArray[np.float64]]
    """One value for each row, by metric; see `by_row`."""


def need_lm_eval() -> None:
    """Import lm-eval.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import lm_eval.evaluator  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"tasks are scored by lm-eval, an optional dependency ({error.name} is not installed); "
            'install it: pip install "lm-eval>=0.4.13"'
        ) from None


def load_local(names: Sequence[str], folder: Path) -> list[LoadedTask]:
    """Tasks on the files of a folder, as this package defines them. Where none is named, every task with a file is loaded.

    Raises:
        ConfigError: no such folder.
        DataError: a named task has no file, no task has one, or a file is damaged.
    """
    from lm_eval.tasks import TaskManager

    if not folder.is_dir():
        raise ConfigError(f"--tasks-dir {folder}: not a folder; give the one that holds the tasks' files")
    found = {name: path for name in names or FILES if (path := find(name, folder))}
    missing = [name for name in names if name not in found]
    if missing or not found:
        files = "; ".join(f"{name}: {' or '.join(FILES[name])}" for name in missing or FILES)
        raise DataError(f"--tasks-dir {folder}: lacks files; put them there ({files})")
    manager = TaskManager(
        include_path=str(Path(__file__).parent / "lm_eval"),
        include_defaults=False,
        metadata={"folder": str(folder)},
    )
    with _quiet():
        return [
            LoadedTask(name, manager.load([name])["tasks"][name], path.name, digest(path))
            for name, path in found.items()
        ]


def load_hub(names: Sequence[str]) -> list[LoadedTask]:
    """Tasks as lm-eval defines them, on its own data sets, which `datasets` fetches once.

    Raises:
        DataError: they can't be fetched.
    """
    import lm_eval.tasks
    from datasets.exceptions import DatasetsError

    root = Path(lm_eval.tasks.__file__).parent
    manager = lm_eval.tasks.TaskManager(
        include_path=[str(root / name) for name in HUB_FOLDERS], include_defaults=False
    )
    loaded = []
    for name in names or FILES:
        try:
            task = manager.load([name])["tasks"][name]
        except (OSError, DatasetsError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{name}: its data can't be fetched ({reason}); without a network, give --tasks-dir DIR "
                "with local files (docs/evaluations.md)"
            ) from None
        data = "/".join(filter(None, (task.config.dataset_path, task.config.dataset_name)))
        rows = task.dataset[task.config.test_split or task.config.validation_split]
        loaded.append(LoadedTask(name, task, data, f"fingerprint:{rows._fingerprint}"))
    return loaded


def score(model: LabLM, loaded: LoadedTask, *, limit: int | None = None) -> TaskScore:
    """Score a model on a task, or on the task's first `limit` rows.

    Raises:
        DataError: a request can't be scored; the task and the request are named.
    """
    from lm_eval.evaluator import evaluate

    asked, cut = model.requests, model.cut
    # Standard errors come from the values by row below, not from a bootstrap.
    with _without_bar():
        try:
            found = evaluate(model, {"tasks": {loaded.name: loaded.task}}, limit=limit, bootstrap_iters=0)
        except DataError as error:
            raise DataError(f"{loaded.name} ({loaded.data}), {error}") from None
    samples = sorted(found["samples"][loaded.name], key=lambda sample: sample["doc_id"])
    choices = [len(sample["arguments"]) for sample in samples]
    guess = float(np.mean([1 / count for count in choices]))
    return TaskScore(
        name=loaded.name,
        version=float(found["versions"][loaded.name]),
        data=loaded.data,
        data_digest=loaded.data_digest,
        rows=len(samples),
        all_rows=len(loaded.task.eval_docs),
        requests=model.requests - asked,
        cut=model.cut - cut,
        chance=guess if max(choices) > 1 else 0.0,
        values={metric: by_row(metric, [s[metric] for s in samples]) for metric in samples[0]["metrics"]},
    )


def by_row(metric: str, raw: Sequence[float]) -> NDArray[np.float64]:
    """Values whose mean is the metric, and whose standard error is the metric's.

    An accuracy has the values 0 or 1. A perplexity p = exp(-mean log p_i) is no mean, so its values are taken to first order
    around the mean log: p (1 + mean - log p_i). Standard errors, also of differences between models, then come from either in
    the same way.
    """
    values = np.asarray(raw, dtype=np.float64)
    if metric != "perplexity":
        return values
    mean = values.mean()
    return np.asarray(math.exp(-mean) * (1 + mean - values), dtype=np.float64)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence lm-eval's advice that a data set made by a function takes arguments. Here it gets them."""
    logger = logging.getLogger("lm_eval.api.task")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _without_bar() -> Iterator[None]:
    """Silence lm-eval's progress bar for building requests, which takes no time and has no switch."""
    from lm_eval.api import task

    bar = task.tqdm
    task.tqdm = lambda rows, **settings: rows
    try:
        yield
    finally:
        task.tqdm = bar
