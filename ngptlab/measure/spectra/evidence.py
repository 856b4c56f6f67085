"""Evidence of condition numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from ngptlab.claims.evidence import Conditions, Evidence
from ngptlab.claims.reading import Reader
from ngptlab.measure.recorded import Key, OfOneRun, OfRun, by_run, where
from ngptlab.measure.spectra.numbers import MatrixSpectrum, Spectra
from ngptlab.stats.declared import parsed


class _Line(OfRun, MatrixSpectrum):
    """A matrix, or a head of one, in spectra.csv."""


def conditions(content: Any, origin: str) -> Evidence:
    """Evidence of spectra.csv, which has a line for each matrix, or head of one, in each view."""
    rows = [row for row in parsed(list[_Line], content) if row["view"] == "stored"]
    return Evidence(
        conditions=[Conditions(**where(run[0], origin), medians=medians(run)) for run in by_run(rows)]
    )


def medians(matrices: Sequence[MatrixSpectrum]) -> dict[str, float]:
    """Median condition number by place, over the heads where a place has some. A singular matrix counts as infinite."""
    places: dict[str, list[MatrixSpectrum]] = {}
    for matrix in matrices:
        places.setdefault(matrix["place"], []).append(matrix)
    found = {}
    for place, every in places.items():
        heads = [m for m in every if m.get("head") is not None] or every
        found[place] = statistics.median(m.get("condition") or math.inf for m in heads)
    return {place: median for place, median in found.items() if math.isfinite(median)}


def of_run(content: Any, key: Key, whose: dict[str, Any]) -> Evidence:
    """Evidence of a run's spectra.json."""
    stored = [m for m in parsed(Spectra, content)["matrices"] if m["view"] == "stored"]
    return Evidence(conditions=[Conditions(**whose, group=(key,), medians=medians(stored))])


READERS = (Reader(frozenset({"run", "place", "view", "condition"}), conditions, rows=True),)
OF_ONE_RUN = OfOneRun("spectra", of_run)
