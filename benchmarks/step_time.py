"""Time of a training step of every method, interleaved in one process, and its share of matrix products.

    python -m benchmarks.step_time [--methods A B] [--sizes demo bytes] [--turns 20] [--compiled]

Ratios are to the first method, of steps taken in the same turn. `roofline` is the time of the step's matrix products alone
over the time of the step, both measured a few times among the turns: 1 would mean that nothing else takes time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.machine import Floats, Spread, ratios, table, write
from benchmarks.memory import peak_bytes
from benchmarks.roofline import Roofline, copy_bandwidth, flops, matmul_rate
from benchmarks.sizes import SIZES, Size, add_sizes, check
from benchmarks.steps import Stepper, bench_device, interleave, ours
from ngptlab.device import Device
from ngptlab.errors import LabError
from ngptlab.methods import names

ROOFLINE_PASSES = 4


@dataclass(frozen=True)
class Row:
    """One contestant at one size."""

    size: str
    context: int
    label: str
    compiled: bool
    step_seconds: Spread
    ratio: Spread
    """To the first contestant, turn by turn."""
    roofline: Spread
    """Time of the matrix products alone over time of the step."""
    products_seconds: float
    flops: int
    """Of the step's matrix products, counted."""
    flops_per_second: float
    """Those over the median step."""
    tokens_per_second: float
    parameters: int
    """Trained values; contestants of one shape differ by their scales and biases only."""
    turns: int
    peak_bytes: int | None
    """What a step without a CUDA graph adds to weights and optimizer state at its peak; None on a CPU, see `memory`."""


def measure(name: str, size: Size, steppers: Sequence[Stepper], turns: int, device: Device) -> list[Row]:
    """All contestants at one size, interleaved with one another and with passes of the matrix products."""
    roofline = Roofline(size, device)
    every, passes = max(1, turns // ROOFLINE_PASSES), dict[int, float]()

    def between(turn: int) -> None:
        if turn % every == every // 2:
            passes[turn] = roofline.seconds()

    sample = size.sample(device.place)
    seconds = interleave(steppers, sample, turns, between)
    rows = _rows(name, size, steppers, seconds, passes, device)
    if not size.cuda:
        return rows
    peaks = [peak_bytes(partial(stepper.plain.step, *sample), device) for stepper in steppers]
    return [replace(row, peak_bytes=peak) for row, peak in zip(rows, peaks, strict=True)]


def _rows(
    name: str,
    size: Size,
    steppers: Sequence[Stepper],
    seconds: Floats,
    passes: dict[int, float],
    device: Device,
) -> list[Row]:
    floor_P1 = np.array(list(passes.values()))[:, np.newaxis]
    shares = floor_P1 / seconds[list(passes)]
    rows = []
    for column, (stepper, ratio) in enumerate(zip(steppers, ratios(seconds), strict=True)):
        step = Spread.of(seconds[:, column])
        rows.append(
            Row(
                size=name,
                context=size.context,
                label=stepper.label,
                compiled=device.compile,
                step_seconds=step,
                ratio=ratio,
                roofline=Spread.of(shares[:, column]),
                products_seconds=Spread.of(floor_P1).median,
                flops=flops(size),
                flops_per_second=round(flops(size) / step.median),
                tokens_per_second=round(size.tokens / step.median, 1),
                parameters=sum(p.numel() for p in stepper.model.parameters()),
                turns=len(seconds),
                peak_bytes=None,
            )
        )
    return rows


def show(rows: Sequence[Row], best_rate: float) -> str:
    """The rows as a table; `of peak` is the share of the best matrix-product rate, on a GPU known as MFU."""
    headings = (
        "size", "who", "mode", "ms/step", "ratio to first", "roofline", "tokens/s", "of peak", "peak MB"
    )  # fmt: skip
    cells = [
        (
            row.size,
            row.label,
            "compiled" if row.compiled else "eager",
            f"{row.step_seconds.median * 1e3:.1f}",
            row.ratio,
            row.roofline,
            f"{row.tokens_per_second:.0f}",
            f"{row.flops_per_second / best_rate:.2f}",
            "" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.0f}",
        )
        for row in rows
    ]
    return table(headings, cells)


def rates(device: Device) -> dict[str, float]:
    """What the machine can do at best: FLOP/s of a large product, bytes/s of a copy."""
    return {
        "matmul_flops_per_second": round(matmul_rate(device)),
        "copy_bytes_per_second": round(copy_bandwidth(device)),
    }


def finish(rows: Sequence[Row], device: Device, out: Path) -> None:
    """Print the table and the machine's limits, write JSON."""
    limits = rates(device)
    print(show(rows, limits["matmul_flops_per_second"]))
    print(
        f"matrix products at best {limits['matmul_flops_per_second'] / 1e9:.0f} GFLOP/s, "
        f"copy {limits['copy_bytes_per_second'] / 1e9:.1f} GB/s"
    )
    write(out, rows, limits=limits)


def parser(description: str | None, out: str) -> argparse.ArgumentParser:
    """Options that every measurement of steps has."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--methods", nargs="+", default=names(), help="the first is what ratios are to")
    add_sizes(made, ["demo", "bytes"])
    made.add_argument("--turns", type=int, default=20, help="steps measured of each")
    made.add_argument("--compiled", action="store_true", help="through torch.compile, not eagerly")
    made.add_argument("--out", type=Path, default=Path(out))
    return made


def main() -> None:
    """Parse, measure, print, write."""
    options = parser(__doc__, "out/bench/step_time.json").parse_args()
    rows: list[Row] = []
    try:
        check(options.sizes)
        device = bench_device(cuda=SIZES[options.sizes[0]].cuda, compiled=options.compiled)
        for name in options.sizes:
            size = SIZES[name]
            steppers = [ours(method, size, device) for method in options.methods]
            rows += measure(name, size, steppers, options.turns, device)
    except LabError as error:
        sys.exit(f"step_time: {error}")
    finish(rows, device, options.out)


if __name__ == "__main__":
    main()
