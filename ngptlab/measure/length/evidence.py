"""Evidence of losses by position."""

from __future__ import annotations

from typing import Any

from pydantic import Field, TypeAdapter

from ngptlab.claims.evidence import Evidence, Positions
from ngptlab.claims.reading import Read, Reader
from ngptlab.measure.recorded import Key, OfOneRun, OfRun, by_run


class _Line(OfRun):
    start: int = Field(alias="from", ge=0)
    stop: int = Field(alias="to", gt=0)
    loss_nats: float


def positions(held: Any, origin: str) -> Evidence:
    """length.csv: a line a bin of a run."""
    rows = TypeAdapter(list[_Line]).validate_python(held)
    return Evidence(
        positions=[
            Positions(**run[0].where(origin), bins=tuple((b.start, b.stop, b.loss_nats) for b in run))
            for run in by_run(rows)
        ]
    )


class _Bin(Read):
    start: int = Field(alias="from", ge=0)
    stop: int = Field(alias="to", gt=0)
    loss_nats: float


class _Length(Read):
    documents_sha256: str
    window: int | None
    rope_base: float | None
    rope_scale: float | None
    bins: tuple[_Bin, ...]


def of_run(held: Any, key: Key, whose: dict[str, Any]) -> Evidence:
    """length.json of a run; nothing of a model that was changed for it (a window, another base)."""
    read = _Length.model_validate(held)
    if (read.window, read.rope_base, read.rope_scale) != (None, None, None):
        return Evidence()
    bins = tuple((b.start, b.stop, b.loss_nats) for b in read.bins)
    return Evidence(positions=[Positions(**whose, group=(key, read.documents_sha256), bins=bins)])


READERS = (Reader(frozenset({"run", "from", "to", "loss_nats"}), positions, rows=True),)
OF_ONE_RUN = OfOneRun("length", of_run)
