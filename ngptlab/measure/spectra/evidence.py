"""Evidence of condition numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from pydantic import Field, TypeAdapter

from ngptlab.claims.evidence import Conditions, Evidence
from ngptlab.claims.reading import Read, Reader
from ngptlab.measure.recorded import Key, OfOneRun, OfRun, by_run


class _Line(OfRun):
    place: str
    view: str
    head: int | None = None
    condition: float | None = Field(default=None, ge=1)


def conditions(held: Any, origin: str) -> Evidence:
    """spectra.csv: a line a matrix, or a head of one, under each view."""
    rows = [row for row in TypeAdapter(list[_Line]).validate_python(held) if row.view == "stored"]
    return Evidence(
        conditions=[Conditions(**run[0].where(origin), medians=medians(run)) for run in by_run(rows)]
    )


def medians(matrices: Sequence[Any]) -> dict[str, float]:
    """Median condition number by place: of the heads where a place has some. A singular matrix counts as infinite."""
    places: dict[str, list[Any]] = {}
    for matrix in matrices:
        places.setdefault(matrix.place, []).append(matrix)
    found = {}
    for place, every in places.items():
        heads = [m for m in every if m.head is not None] or every
        found[place] = statistics.median(math.inf if m.condition is None else m.condition for m in heads)
    return {place: median for place, median in found.items() if math.isfinite(median)}


class _Matrix(Read):
    place: str
    view: str
    head: int | None
    condition: float | None = Field(default=None, ge=1)


class _Spectra(Read):
    matrices: tuple[_Matrix, ...]


def of_run(held: Any, key: Key, whose: dict[str, Any]) -> Evidence:
    """spectra.json of a run."""
    stored = [m for m in _Spectra.model_validate(held).matrices if m.view == "stored"]
    return Evidence(conditions=[Conditions(**whose, group=(key,), medians=medians(stored))])


READERS = (Reader(frozenset({"run", "place", "view", "condition"}), conditions, rows=True),)
OF_ONE_RUN = OfOneRun("spectra", of_run)
