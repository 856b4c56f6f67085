"""Whose a measurement is: in the tables that `ngptlab eval` writes over several runs, and in a run's own files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ngptlab.claims.evidence import Evidence, Setting
from ngptlab.claims.reading import Read, seed_label, shown

LABEL = re.compile(r"(?P<method>\S+?)(?: s(?P<seed>\d+))?")
"""How `ngptlab eval` names runs where tables have no columns for it: the arm, with its seed where several have one arm."""


Key = tuple[object, ...]


class OfOneRun(NamedTuple):
    """What reads the file that an evaluation keeps in a run."""

    eval: str
    """Its `eval` field."""
    read: Callable[[Any, Key, dict[str, Any]], Evidence]
    """From what the file holds, what runs share that may be compared, and the fields of evidence that say whose it is."""


class OfRun(Read):
    """Columns of every evaluation's table; those that name the run came later than the first tables."""

    run: str
    step: int
    method: str = ""
    seed: int | None = None
    data_seed: int | None = None
    hash: str = ""
    params: int | None = None
    tokens: int | None = None
    context: int | None = None
    data: str = ""

    def where(self, origin: str) -> dict[str, Any]:
        """Whose it is, as evidence has it."""
        label = LABEL.fullmatch(self.run)
        seed = "" if self.seed is None else seed_label(self.seed, self.data_seed)
        return {
            "setting": Setting(
                origin=origin,
                params=self.params,
                tokens=self.tokens,
                context=self.context,
                data=shown(self.data),
            ),
            "method": self.method or (label["method"] if label else self.run),
            "seed": seed or (label["seed"] or "" if label else ""),
            "hash": shown(self.hash),
            "group": (origin, self.step, self.tokens, self.context),
        }


def by_run(rows: Sequence[OfRun]) -> list[list[Any]]:
    groups: dict[tuple[str, int], list[OfRun]] = {}
    for row in rows:
        groups.setdefault((row.run, row.step), []).append(row)
    return list(groups.values())
