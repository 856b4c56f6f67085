"""Runs of a ledger as lines of a table: settings, result, and machine."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from ngptlab.config import RunConfig, flatten
from ngptlab.ledger.book import Entry
from ngptlab.runs import ending_of
from ngptlab.terminal import cell

SHOWN = ("hash", "recipe", "arm", "seed", "steps", "lr", "loss_nats", "stderr_nats", "status", "settings")
"""Columns that a terminal has room for."""
NAMED = ("method", "seed", "data.seed", "train.steps", "optim.lr", "optim.lr_grid", "optim.search")
"""Fields that have a column of their own, or that have no effect on the numbers."""


def lines(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """One line for each run. `settings` holds the fields under the hash in which these runs differ.

    Raises:
        DataError: a record is damaged.
    """
    read = [(entry, entry.config) for entry in entries]
    fields = [dict(flatten(config.science())) for _, config in read]
    paths = dict.fromkeys(path for each in fields for path in each)
    varied = [p for p in paths if p not in NAMED and len({str(each.get(p)) for each in fields}) > 1]
    return [
        _line(entry, config, " ".join(f"{path}={each[path]}" for path in varied if path in each))
        for (entry, config), each in zip(read, fields, strict=True)
    ]


def _line(entry: Entry, config: RunConfig, settings: str) -> dict[str, Any]:
    summary, env, seconds = entry.record["summary"], entry.record["env"], entry.record["step_seconds"]
    last = _last(entry.record["evals"], config.train.steps)
    return {
        "hash": entry.hash,
        "recipe": config.name,
        "arm": config.arm,
        "seed": config.seed,
        "data_seed": config.data.seed,
        "steps": config.train.steps,
        "tokens": config.train.tokens,
        "params": summary.get("params"),
        "lr": config.optim.lr,
        "weight_decay": config.optim.weight_decay,
        "init": config.optim.init,
        "alpha_init": config.optim.alpha_init,
        "warmup_steps": config.schedule.warmup_steps,
        "cooldown_frac": config.schedule.cooldown_frac,
        "search": config.optim.search,
        "loss_nats": last.get("loss_nats"),
        "stderr_nats": last.get("stderr_nats"),
        "bits_per_byte": last.get("bits_per_byte"),
        "status": ending_of(summary).status,
        "step_seconds": median(seconds) if seconds else None,
        "settings": settings,
        **{key: env.get(key) for key in ("commit", "torch", "device", "threads", "started", "data_digest")},
    }


def _last(evals: Sequence[Mapping[str, Any]], steps: int) -> Mapping[str, Any]:
    found = [record for record in evals if record["eval"] == "val" and record["step"] == steps]
    return found[-1] if found else {}


def as_csv(table: Sequence[Mapping[str, Any]]) -> str:
    """The lines as CSV with every column; unknown values are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]) if table else SHOWN, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: cell(value) if isinstance(value, str) else value for name, value in line.items()}
        for line in table
    )
    return text.getvalue()


def shown(table: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The lines as a terminal shows them, in the columns of `SHOWN`."""
    return [tuple(_cell(name, line[name]) for name in SHOWN) for line in table]


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in ("loss_nats", "stderr_nats"):
        return f"{value:.4f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
