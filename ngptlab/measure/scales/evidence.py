"""Evidence of learned scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ngptlab.claims.evidence import Evidence, Scales
from ngptlab.claims.reading import Reader
from ngptlab.measure.recorded import Key, OfOneRun, OfRun, by_run, where
from ngptlab.measure.scales.numbers import Learned, LearnedScale
from ngptlab.stats.declared import parsed


class _Line(OfRun, LearnedScale):
    """A learned scale in scales.csv."""


def scales(content: Any, origin: str) -> Evidence:
    """Evidence of scales.csv, which has a line for each learned scale."""
    runs = by_run(parsed(list[_Line], content))
    return Evidence(scales=[by_place(run, where(run[0], origin)) for run in runs])


def of_run(content: Any, key: Key, whose: dict[str, Any]) -> Evidence:
    """Evidence of a run's scales.json."""
    return Evidence(scales=[by_place(parsed(Learned, content)["scales"], {**whose, "group": (key,)})])


def by_place(found: Sequence[LearnedScale], whose: dict[str, Any]) -> Scales:
    """Means of scales by place, from the first block on; also means of squares where the spread is recorded."""
    places: dict[str, list[LearnedScale]] = {}
    for scale in sorted(found, key=lambda scale: scale.get("layer") or 0):
        places.setdefault(scale["place"], []).append(scale)
    spread = {place: every for place, every in places.items() if all("std" in scale for scale in every)}
    return Scales(
        **whose,
        means={place: tuple(s["mean"] for s in every) for place, every in places.items()},
        mean_squares={
            place: tuple(s["mean"] ** 2 + s["std"] ** 2 for s in every) for place, every in spread.items()
        },
    )


READERS = (Reader(frozenset({"run", "place", "kind", "mean"}), scales, rows=True),)
OF_ONE_RUN = OfOneRun("scales", of_run)
