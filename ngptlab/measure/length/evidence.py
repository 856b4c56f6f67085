"""Evidence of losses by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ngptlab.claims.evidence import Evidence, Positions
from ngptlab.claims.reading import Reader
from ngptlab.measure.length.numbers import Length
from ngptlab.measure.recorded import Key, OfOneRun, OfRun, by_run, where
from ngptlab.stats.declared import parsed
from ngptlab.stats.records import LengthBin


class _Line(OfRun, LengthBin):
    """A bin of a run in length.csv."""


def spans(bins: Sequence[LengthBin]) -> tuple[tuple[int, int, float], ...]:
    """Bins in the form of evidence: (from, to, loss)."""
    return tuple((each["from"], each["to"], each["loss_nats"]) for each in bins)


def positions(held: Any, origin: str) -> Evidence:
    """Evidence of length.csv, which has a line for each bin of a run."""
    runs = by_run(parsed(list[_Line], held))
    return Evidence(positions=[Positions(**where(run[0], origin), bins=spans(run)) for run in runs])


def of_run(held: Any, key: Key, whose: dict[str, Any]) -> Evidence:
    """Evidence of a run's length.json; none where the model was changed for reading (a window, another base)."""
    read = parsed(Length, held)
    if (read["window"], read["rope_base"], read["rope_scale"]) != (None, None, None):
        return Evidence()
    group = (key, read["documents_sha256"])
    return Evidence(positions=[Positions(**whose, group=group, bins=spans(read["bins"]))])


READERS = (Reader(frozenset({"run", "from", "to", "loss_nats"}), positions, rows=True),)
OF_ONE_RUN = OfOneRun("length", of_run)
