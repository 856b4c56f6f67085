"""Models trained as one stack against the same models one after the other: `python -m benchmarks.stacked`.

As in a sweep, on a CPU as many processes as cores work at once, each on one thread, with models of its own; on a GPU one.
All take turns together, a turn a step of every model in both ways, in alternating order. A step is forward, backward,
clipping, AdamW and the constraint, and reading the loss, as the trainer does. Shown are cells an hour by the steps of the
recipe (evaluation and starting not counted), and the time of the stack over that of single models: median of turns, with
quartiles.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import Floats, Spread, table, write
from benchmarks.sizes import Size
from benchmarks.steps import WARM_UP_STEPS, ours
from ngptlab.config import DeviceConfig, RunConfig
from ngptlab.device import open_device
from ngptlab.jobs.local import cores
from ngptlab.recipes import recipe
from ngptlab.stack.models import Stack
from ngptlab.stack.optim import StackedAdamW
from ngptlab.stack.update import StackUpdate
from ngptlab.studies.sweep.plan import widened

WAIT_SECONDS = 1800.0
"""Longest wait for the slowest of the processes; compiling takes minutes."""


@dataclass(frozen=True)
class Case:
    """What is measured: a method at a width, and how many models a stack has."""

    method: str
    width: int
    models: int
    turns: int
    compiled: bool


@dataclass(frozen=True)
class Row:
    """One case measured."""

    method: str
    width: int
    models: int
    processes: int
    cells_per_hour_alone: float
    cells_per_hour_stacked: float
    stacked_over_alone: Spread
    process_time_ratio: Spread


def contestants(case: Case, base: RunConfig) -> list[Callable[[], object]]:
    """One step of all models, alone and stacked."""
    compile_or_not: Any = "on" if case.compiled else "off"
    device = open_device(DeviceConfig(threads=1, compile=compile_or_not), base.train)
    size = Size(widened(base.model, case.width), base.train.batch_size, base.train.context)
    inputs, targets = size.sample(device.place)
    singles = [ours(case.method, size, device) for _ in range(case.models)]
    others = [ours(case.method, size, device) for _ in range(case.models)]
    stack = Stack([other.model for other in others], compiled=case.compiled)  # type: ignore[misc]
    optimizer = StackedAdamW(stack, [other.optimizer for other in others], steps=0)
    update = StackUpdate(stack, optimizer, grad_clip=1.0, graph=device.records)
    inputs_MBT, targets_MBT = (x.expand(case.models, *x.shape).contiguous() for x in (inputs, targets))

    def alone() -> list[float]:
        # As runs alone do on a GPU, the next is queued before the last one's loss is read.
        losses_M: list[float] = torch.stack([single.queue(inputs, targets) for single in singles]).tolist()
        return losses_M

    def stacked() -> list[float]:
        losses_M: list[float] = update(inputs_MBT, targets_MBT, 1.0)[0].tolist()
        return losses_M

    return [alone, stacked]


def worker(case: Case, base: RunConfig, barrier: Barrier, results: Any) -> None:
    """Measure in step with the other processes; puts seconds and processor seconds, [turns, 2] each."""
    steps = contestants(case, base)
    for step in steps:
        for _ in range(WARM_UP_STEPS):
            step()
    wall, processor = np.zeros((case.turns, 2)), np.zeros((case.turns, 2))
    for turn in range(case.turns):
        for place in range(2):
            which = (turn + place) % 2
            barrier.wait(WAIT_SECONDS)
            start, start_cpu = time.perf_counter(), time.process_time()
            steps[which]()
            wall[turn, which] = time.perf_counter() - start
            processor[turn, which] = time.process_time() - start_cpu
    results.put((wall, processor))


def measure(case: Case, base: RunConfig, processes: int) -> Row:
    """One case, on as many processes as stated."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(processes), context.Queue()
    started = [
        context.Process(target=worker, args=(case, base, barrier, results), daemon=True)
        for _ in range(processes)
    ]
    for process in started:
        process.start()
    taken: list[tuple[Floats, Floats]] = [results.get(timeout=WAIT_SECONDS) for _ in started]
    for process in started:
        process.join()
    wall, processor = (np.concatenate(arrays) for arrays in zip(*taken, strict=True))
    hourly = 3600 * processes * case.models / (np.median(wall, axis=0) * base.train.steps)
    return Row(
        method=case.method,
        width=case.width,
        models=case.models,
        processes=processes,
        cells_per_hour_alone=round(float(hourly[0]), 1),
        cells_per_hour_stacked=round(float(hourly[1]), 1),
        stacked_over_alone=Spread.of(wall[:, 1] / wall[:, 0]),
        process_time_ratio=Spread.of(processor[:, 1] / processor[:, 0]),
    )


def shown(row: Row) -> tuple[object, ...]:
    """A line of the table."""
    hourly = row.cells_per_hour_alone, row.cells_per_hour_stacked
    return row.method, row.width, row.models, *hourly, row.stacked_over_alone, row.process_time_ratio


def main() -> None:
    """Measure every case and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="mup-bytes-small", help="whose sizes and steps are taken")
    parser.add_argument("--methods", nargs="+", default=[], metavar="M", help="default: the recipe's")
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 64, 128], metavar="D")
    parser.add_argument("--models", nargs="+", type=int, default=[6], metavar="M", help="of a stack")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--processes", type=int, default=0, help="default: one a core; on a GPU one")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("out/bench/stacked.json"))
    options = parser.parse_args()
    cuda = torch.cuda.is_available()
    processes = options.processes or (1 if cuda else cores())
    found = recipe(options.recipe)
    base = found.config
    cases = [
        Case(method, width, models, options.turns, options.compiled)
        for width in options.widths
        for method in options.methods or found.methods
        for models in options.models
    ]
    rows: list[Row] = []
    try:
        for case in cases:
            rows.append(measure(case, base, processes))
            print(f"{case.method} {case.width} x {case.models}: {rows[-1].stacked_over_alone}", flush=True)
    finally:  # what was measured is kept where a later case breaks off
        headings = ("method", "width", "models", "cells/h alone", "stacked", "time ratio", "processor's")
        print(table(headings, [shown(row) for row in rows]))
        write(options.out, rows, recipe=options.recipe, compiled=options.compiled)


if __name__ == "__main__":
    main()
