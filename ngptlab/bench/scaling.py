"""How the cost of a training step grows with each size, for several methods: measured, fitted, compared, written.

The exponent to expect of time is that of the operations counted at the same points, fitted alike: it is not 2 for width
or 1 for vocabulary, because parts that don't grow are counted too. Memory has no such count; its exponent is only given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from ngptlab.bench.axes import FULL, QUICK, Grid
from ngptlab.bench.fit import Axis, Exponent, Growth, exponent, upper_half
from ngptlab.bench.measure import Cost, measure
from ngptlab.config import DeviceConfig, TrainConfig
from ngptlab.config.method_name import stem
from ngptlab.device import Device, describe, open_device
from ngptlab.disk import write_json
from ngptlab.errors import ConfigError
from ngptlab.folders import check_writable
from ngptlab.methods import load


def scaling(
    methods: Sequence[str],
    *,
    axes: Sequence[str],
    turns: int | None,
    quick: bool,
    out: Path,
    tell: Callable[[str], None],
) -> str:
    """Measure along `axes` and write scaling.json and scaling.png into `out`; returns the table.

    Raises:
        ConfigError: there is no such method, or one is named twice.
        OSError: the folder can't be written; known before anything is measured.
    """
    for name, given in (("--methods", methods), ("--axes", axes)):
        if len(set(given)) != len(given):
            raise ConfigError(f"{name}: given {' '.join(given)}; name each once")
    for method in methods:
        load(method)
    out.mkdir(parents=True, exist_ok=True)
    check_writable(out)
    grid = QUICK if quick else FULL
    turns = turns or grid.turns
    device = open_device(DeviceConfig(compile="off"), TrainConfig())
    found = {axis: _along(axis, methods, grid, turns, device, tell) for axis in axes}
    _write(found, out, {"machine": describe(device), "quick": quick, "turns": turns, "base": grid.base})
    return table(found)


def _along(
    axis: str, methods: Sequence[str], grid: Grid, turns: int, device: Device, tell: Callable[[str], None]
) -> Axis:
    sizes, points = grid.along[axis], grid.points(axis)
    costs = measure(
        methods,
        points,
        turns=turns,
        device=device,
        tell=lambda text: tell(f"{axis} {sizes[0]}..{sizes[-1]}: {text}"),
    )
    flops = tuple(point.flops for point in points)
    grown = {method: growth(sizes, flops, costs[method]) for method in methods}
    return Axis(sizes=sizes, step_flops=flops, expected_time=exponent(sizes, flops), methods=grown)


def growth(sizes: Sequence[int], flops: Sequence[int], costs: Sequence[Cost]) -> Growth:
    """A method's costs along an axis, and how they grow."""
    medians = tuple(median(cost.seconds) for cost in costs)
    peaks = tuple(cost.peak_bytes for cost in costs)
    return Growth(
        step_seconds=tuple(cost.seconds for cost in costs),
        step_seconds_median=medians,
        flops_per_second=tuple(n / seconds for n, seconds in zip(flops, medians, strict=True)),
        peak_bytes=peaks,
        time=exponent(sizes, medians),
        memory=exponent(sizes, peaks),
    )


def table(found: dict[str, Axis]) -> str:
    """Exponents over the upper half of each axis, and the cost at its end."""
    lines = [
        f"{'axis':10}  {'sizes fitted':>12}  {'method':14}  {'time ~ size^':>14}  {'counted':>7}  {'off':>6}  "
        f"{'memory ~ size^':>14}  {'ms':>8}  {'MB':>7}  {'GFLOP/s':>7}"
    ]
    for name, axis in found.items():
        fitted = upper_half(axis.sizes)
        expected = axis.expected_time.value
        for method, at in axis.methods.items():
            lines.append(
                f"{name:10}  {f'{fitted[0]}..{fitted[-1]}':>12}  {stem(method):14}  {_words(at.time):>14}  {expected:7.2f}  "
                f"{at.time.value - expected:+z6.2f}  {_words(at.memory):>14}  {1e3 * at.step_seconds_median[-1]:8.1f}  "
                f"{at.peak_bytes[-1] / 1e6:7.1f}  {at.flops_per_second[-1] / 1e9:7.1f}"
            )
    return "\n".join([*lines, "The last three columns are of the largest size; ± is one standard error."])


def _words(found: Exponent) -> str:
    return f"{found.value:z.2f}" + ("" if found.stderr is None else f" ± {found.stderr:.2f}")


def _write(found: dict[str, Axis], out: Path, facts: dict[str, Any]) -> None:
    from ngptlab.bench.plots import draw

    record = {**facts, "axes": {name: asdict(axis) for name, axis in found.items()}}
    write_json(out / "scaling.json", record)
    draw(found, out / "scaling.png")
