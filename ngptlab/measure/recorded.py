"""Whose a measurement is: in the tables that `ngptlab eval` writes over several runs, and in a run's own files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ngptlab.claims.evidence import Evidence, Setting
from ngptlab.claims.reading import seed_label, shown
from ngptlab.measure.labels import Identity

LABEL = re.compile(r"(?P<method>\S+?)(?: s(?P<seed>\d+))?")
"""How `ngptlab eval` names runs where tables have no columns for it: the arm, with its seed where several have one arm."""


Key = tuple[object, ...]


class OfOneRun(NamedTuple):
    """What reads the file that an evaluation keeps in a run."""

    eval: str
    """Its `eval` field."""
    read: Callable[[Any, Key, dict[str, Any]], Evidence]
    """From what the file holds, what runs share that may be compared, and the fields of evidence that say whose it is."""


class OfRun(Identity):
    """Columns of every evaluation's table; those that name the run came later than the first tables."""

    run: str
    step: int


R = TypeVar("R", bound=Mapping[str, Any])


def where(row: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Whose a row is, as evidence has it; what `OfRun` has and the row lacks is not recorded."""
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


def by_run(rows: Sequence[R]) -> list[list[R]]:
    """The rows of each run and step."""
    groups: dict[tuple[str, int], list[R]] = {}
    for row in rows:
        groups.setdefault((row["run"], row["step"]), []).append(row)
    return list(groups.values())
