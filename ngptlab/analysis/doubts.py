"""What makes any comparison of runs doubtful: settings, learning rates, machines. Nothing here changes a number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ngptlab.analysis.records import RunRecord
from ngptlab.config import flatten
from ngptlab.learned import nothing_learned

SEEDS = ("seed", "data.seed")
ARM = (*SEEDS, "method", "schedule.warmup_steps")
"""Fields in which two arms may differ, beside those of `FREE`."""
FREE = ("optim.", "seams.")
"""Sections in which two arms may differ: each has its own best optimizer settings, and seams belong to the method."""

DATA_KEYS = ("data_digest",)
NUMERIC_KEYS = ("compute_dtype", "torch", "ngptlab", "version", "commit")
TIME_KEYS = ("device", "device_name", "threads", "platform")

Arms = dict[str, list[RunRecord]]


def flat(run: RunRecord) -> dict[str, str]:
    """The fields that decide a run's numbers, by path, as text."""
    return {path: str(value) for path, value in flatten(run.config.science())}


def differing(runs: Sequence[RunRecord], ignored: Sequence[str]) -> dict[str, list[str]]:
    """Fields in which the runs differ, with the distinct values in order."""
    records = [flat(run) for run in runs]
    paths = list(dict.fromkeys(path for record in records for path in record))
    values = {path: list(dict.fromkeys(record.get(path, "none") for record in records)) for path in paths}
    return {path: found for path, found in values.items() if len(found) > 1 and path not in ignored}


def unequal(a: RunRecord, b: RunRecord, ignored: Sequence[str] = ()) -> dict[str, list[str]]:
    """Fields in which two arms differ although arms should not."""
    fields = differing([a, b], (*ARM, *ignored))
    return {path: values for path, values in fields.items() if not path.startswith(FREE)}


def name_fields(fields: dict[str, list[str]]) -> str:
    """'train.steps (600, 300), data.source (a, b)'."""
    return ", ".join(f"{path} ({', '.join(values)})" for path, values in fields.items())


def lr_note(lr: float, grid: Sequence[float]) -> str | None:
    """Where the learning rate stands in the grid it was chosen from; None where it is inside."""
    if not grid:
        return "not tuned: no grid recorded"
    if not any(math.isclose(lr, value, rel_tol=1e-6) for value in grid):
        return "not from the grid"
    if len(set(grid)) == 1:
        return "not tuned: the grid holds one value"
    for edge, value in (("lowest", min(grid)), ("highest", max(grid))):
        if math.isclose(lr, value, rel_tol=1e-6):
            return f"{edge} of the grid: the optimum may lie beyond"
    return None


def learned_nothing(arms: Arms) -> list[str]:
    """Runs whose last validation is no better than no training."""
    return [f"{run.name}: {why}." for arm in arms.values() for run in arm if (why := no_better(run))]


def no_better(run: RunRecord) -> str:
    """Why a run learned nothing; '' where it did."""
    val = [(row.step, row.loss_nats, row.stderr_nats) for row in run.val]
    return nothing_learned(val, run.config.model.vocab_size)


def provenance(arms: Arms) -> list[str]:
    """Runs that read other data, or were computed by other code or another machine."""
    said = {
        DATA_KEYS: "The runs did not read the same data",
        NUMERIC_KEYS: "The runs were not computed by the same code or numbers",
        TIME_KEYS: "The runs were not computed on the same machine, so step times can't be compared",
    }
    runs = [run for arm in arms.values() for run in arm]
    found = []
    for keys, sentence in said.items():
        values = {key: list(dict.fromkeys(run.env.get(key, "not recorded") for run in runs)) for key in keys}
        if fields := {key: distinct for key, distinct in values.items() if len(distinct) > 1}:
            found.append(f"{sentence}: {name_fields(fields)}.")
    return found
