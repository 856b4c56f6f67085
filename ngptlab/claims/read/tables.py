"""Evidence of tables: sweeps, step times, and evaluations over several runs as `ngptlab eval` writes them."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from typing import Any

from pydantic import Field, TypeAdapter

from ngptlab.analysis.rows import CellRow
from ngptlab.analysis.tasks import AVERAGE
from ngptlab.claims.evidence import (
    Accuracy,
    Conditions,
    Evidence,
    Grid,
    Positions,
    Scales,
    Setting,
    StepTime,
)
from ngptlab.claims.read.fields import Read, seed_label, shown

ByPlace = dict[str, tuple[float, ...]]
LABEL = re.compile(r"(?P<method>\S+?)(?: s(?P<seed>\d+))?")
"""How `ngptlab eval` names runs where tables have no columns for it: the arm, with its seed where several have one arm."""


class _Cells(Read):
    cells: tuple[CellRow, ...]


def sweep(held: Any, origin: str) -> Evidence:
    """sweep.json."""
    return _grid(_Cells.model_validate(held).cells, origin)


def sweep_rows(held: Any, origin: str) -> Evidence:
    """sweep.csv."""
    return _grid(TypeAdapter(tuple[CellRow, ...]).validate_python(held), origin)


def _grid(cells: Sequence[CellRow], origin: str) -> Evidence:
    for cell in cells:
        loss = cell.final_loss_nats
        if not cell.lr > 0 or cell.width <= 0 or (loss is not None and not math.isfinite(loss)):
            raise ValueError(f"cell {shown(cell.hash)}: a rate, a width or a loss that is none")
    params = max((cell.params for cell in cells if cell.params), default=None)
    return Evidence(grids=[Grid(setting=Setting(origin=origin, params=params), cells=tuple(cells))])


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


class _OfRun(Read):
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


class _Bin(_OfRun):
    start: int = Field(alias="from", ge=0)
    stop: int = Field(alias="to", gt=0)
    loss_nats: float


class _Matrix(_OfRun):
    place: str
    view: str
    head: int | None = None
    condition: float | None = Field(default=None, ge=1)


class _Scale(_OfRun):
    place: str
    layer: int | None = None
    mean: float
    std: float | None = Field(default=None, ge=0)


class _Score(_OfRun):
    task: str
    metric: str
    value: float


def _by_run(rows: Sequence[_OfRun]) -> list[list[Any]]:
    groups: dict[tuple[str, int], list[_OfRun]] = {}
    for row in rows:
        groups.setdefault((row.run, row.step), []).append(row)
    return list(groups.values())


def positions(held: Any, origin: str) -> Evidence:
    """length.csv: a line a bin of a run."""
    rows = TypeAdapter(list[_Bin]).validate_python(held)
    return Evidence(
        positions=[
            Positions(**run[0].where(origin), bins=tuple((b.start, b.stop, b.loss_nats) for b in run))
            for run in _by_run(rows)
        ]
    )


def conditions(held: Any, origin: str) -> Evidence:
    """spectra.csv: a line a matrix, or a head of one, under each view."""
    rows = [row for row in TypeAdapter(list[_Matrix]).validate_python(held) if row.view == "stored"]
    return Evidence(
        conditions=[Conditions(**run[0].where(origin), medians=medians(run)) for run in _by_run(rows)]
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


def scales(held: Any, origin: str) -> Evidence:
    """scales.csv: a line a learned scale."""
    found = Evidence()
    for run in _by_run(TypeAdapter(list[_Scale]).validate_python(held)):
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


def accuracies(held: Any, origin: str) -> Evidence:
    """tasks.json: a line a task and metric of a run, the average among them."""
    rows = TypeAdapter(list[_Score]).validate_python(held)
    found = []
    for run in _by_run(rows):
        tasks = tuple(sorted({shown(row.task) for row in run if row.task != AVERAGE}))
        for row in run:
            if row.task == AVERAGE:  # the other lines have their task's data in `data`
                whose = row.where(origin)
                whose["group"] = (*whose["group"], tasks)
                found.append(Accuracy(**whose, tasks=tasks, average=row.value))
    return Evidence(accuracies=found)
