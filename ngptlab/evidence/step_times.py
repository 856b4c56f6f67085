"""Evidence of step times, as benchmarks/step_time.py writes them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from ngptlab.claims.evidence import Evidence, Setting, StepTime
from ngptlab.claims.reading import Reader, shown
from ngptlab.stats.declared import parsed

_Ratio = Annotated[float, Field(gt=0)]


class _Spread(TypedDict):
    median: _Ratio
    low: _Ratio
    high: _Ratio


class _Machine(TypedDict):
    cpu: str
    threads: int
    gpu: str


class _Contestant(TypedDict):
    size: str
    label: str
    compiled: bool
    ratio: _Spread
    parameters: int
    turns: int
    context: int


class _Measurement(TypedDict):
    machine: _Machine
    rows: list[_Contestant]


class _Measurements(TypedDict):
    measurements: list[_Measurement]


def step_times(content: Any, origin: str) -> Evidence:
    """Evidence of benchmarks/step_time.py: ratios to the first contestant at a size, turn by turn."""
    evidence = Evidence()
    for measurement in parsed(_Measurements, content)["measurements"]:
        first: dict[tuple[str, bool], str] = {}
        machine = measurement["machine"]
        gpu = machine.get("gpu", "")
        for row in measurement["rows"]:
            base = first.setdefault((row["size"], row["compiled"]), row["label"])
            if row["label"] == base:
                continue
            evidence.step_times.append(
                StepTime(
                    setting=Setting(origin=origin, params=row["parameters"], context=row.get("context")),
                    method=row["label"],
                    baseline=base,
                    size=shown(row["size"]) + (", compiled" if row["compiled"] else ""),
                    machine=shown(gpu or f"{machine['threads']} threads of {machine['cpu']}"),
                    gpu=bool(gpu),
                    turns=row["turns"],
                    **row["ratio"],
                )
            )
    return evidence


READERS = (Reader(frozenset({"measurements"}), step_times),)
