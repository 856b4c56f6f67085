"""Evidence of step times, as benchmarks/step_time.py writes them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ngptlab.claims.evidence import Evidence, Setting, StepTime
from ngptlab.claims.reading import Read, Reader, shown


class _Spread(Read):
    median: float = Field(gt=0)
    low: float = Field(gt=0)
    high: float = Field(gt=0)


class _Machine(Read):
    cpu: str
    threads: int
    gpu: str = ""

    @property
    def text(self) -> str:
        return shown(self.gpu or f"{self.threads} threads of {self.cpu}")


class _Contestant(Read):
    size: str
    label: str
    compiled: bool
    ratio: _Spread
    parameters: int
    turns: int
    context: int | None = None


class _Measurement(Read):
    machine: _Machine
    rows: tuple[_Contestant, ...]


class _Measurements(Read):
    measurements: tuple[_Measurement, ...]


def step_times(held: Any, origin: str) -> Evidence:
    """benchmarks/step_time.py: ratios to the first contestant at a size, turn by turn."""
    found = Evidence()
    for measurement in _Measurements.model_validate(held).measurements:
        first: dict[tuple[str, bool], str] = {}
        for row in measurement.rows:
            base = first.setdefault((row.size, row.compiled), row.label)
            if row.label == base:
                continue
            found.step_times.append(
                StepTime(
                    setting=Setting(origin=origin, params=row.parameters, context=row.context),
                    method=row.label,
                    baseline=base,
                    size=shown(row.size) + (", compiled" if row.compiled else ""),
                    machine=measurement.machine.text,
                    gpu=bool(measurement.machine.gpu),
                    turns=row.turns,
                    median=row.ratio.median,
                    low=row.ratio.low,
                    high=row.ratio.high,
                )
            )
    return found


READERS = (Reader(frozenset({"measurements"}), step_times),)
