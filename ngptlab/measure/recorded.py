"""The run that a measurement belongs to, as written and read: in tables over several runs, and in a run's own files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ngptlab.claims.evidence import Evidence, Setting
from ngptlab.claims.reading import seed_label, shown
from ngptlab.measure.labels import Identity
from ngptlab.stats.tables import Row, flat

LABEL = re.compile(r"(?P<method>\S+?)(?: s(?P<seed>\d+))?")
"""Label of a run in tables without columns for method and seed: the arm, with its seed where it has several."""


Key = tuple[object, ...]


class OfOneRun(NamedTuple):
    """Reader of the file that an evaluation keeps in a run."""

    eval: str
    """Value of the file's `eval` field."""
    read: Callable[[Any, Key, dict[str, Any]], Evidence]
    """Evidence from the file's content, the key shared by comparable runs, and the fields that identify the run."""


class OfRun(Identity):
    """Columns of every evaluation's table. The first tables lack the columns of `Identity`."""

    run: str
    step: int


R = TypeVar("R", bound=Mapping[str, Any])


def where(row: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """The fields of evidence that identify a row's run. A column of `OfRun` that the row lacks counts as not recorded."""
    label = LABEL.fullmatch(row["run"])
    seed = seed_label(row["seed"], row.get("data_seed")) if "seed" in row else ""
    tokens, context = row.get("tokens"), row.get("context")
    return {
        "setting": Setting(
            origin=origin,
            params=row.get("params"),
            tokens=tokens,
            context=context,
            data=shown(row.get("data", "")),
        ),
        "method": row.get("method") or (label["method"] if label else row["run"]),
        "seed": seed or (label["seed"] or "" if label else ""),
        "hash": shown(row.get("hash", "")),
        "group": (origin, row["step"], tokens, context),
    }


def lines(measured: Mapping[str, Mapping[str, Any]], part: str) -> list[Row]:
    """A table's lines, one for each entry of `part` in each run's record, with the columns of `OfRun` before its own."""
    return [
        {"run": label, "step": record["step"], **record.get("of", {}), **flat(entry)}
        for label, record in measured.items()
        for entry in record[part]
    ]


def by_run(rows: Sequence[R]) -> list[list[R]]:
    """Rows grouped by run and step."""
    groups: dict[tuple[str, int], list[R]] = {}
    for row in rows:
        groups.setdefault((row["run"], row["step"]), []).append(row)
    return list(groups.values())
