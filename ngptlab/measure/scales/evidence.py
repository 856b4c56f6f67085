"""Evidence of learned scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field, TypeAdapter

from ngptlab.claims.evidence import Evidence, Scales
from ngptlab.claims.reading import Read, Reader
from ngptlab.measure.recorded import Key, OfOneRun, OfRun, by_run

ByPlace = dict[str, tuple[float, ...]]


class _Line(OfRun):
    place: str
    layer: int | None = None
    mean: float
    std: float | None = Field(default=None, ge=0)


def scales(held: Any, origin: str) -> Evidence:
    """scales.csv: a line a learned scale."""
    found = Evidence()
    for run in by_run(TypeAdapter(list[_Line]).validate_python(held)):
        means, mean_squares = by_place(run)
        found.scales.append(Scales(**run[0].where(origin), means=means, mean_squares=mean_squares))
    return found


def by_place(found: Sequence[Any]) -> tuple[ByPlace, ByPlace]:
    """Means, and means of squares where the spread is recorded: by place, each from the first block on."""
    places: dict[str, list[Any]] = {}
    for scale in sorted(found, key=lambda s: s.layer or 0):
        places.setdefault(scale.place, []).append(scale)
    spread = {place: every for place, every in places.items() if all(s.std is not None for s in every)}
    return (
        {place: tuple(s.mean for s in every) for place, every in places.items()},
        {place: tuple(s.mean**2 + s.std**2 for s in every) for place, every in spread.items()},
    )


class _Scale(Read):
    place: str
    layer: int | None
    mean: float
    std: float | None = Field(default=None, ge=0)


class _Scales(Read):
    scales: tuple[_Scale, ...]


def of_run(held: Any, key: Key, whose: dict[str, Any]) -> Evidence:
    """scales.json of a run."""
    means, mean_squares = by_place(_Scales.model_validate(held).scales)
    return Evidence(scales=[Scales(**whose, group=(key,), means=means, mean_squares=mean_squares)])


READERS = (Reader(frozenset({"run", "place", "kind", "mean"}), scales, rows=True),)
OF_ONE_RUN = OfOneRun("scales", of_run)
