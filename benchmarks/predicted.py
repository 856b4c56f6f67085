"""A step's predicted time against its measured one, at 1, 2 and 4 processes: `python -m benchmarks.predicted`.

`plan.step_time` is what `ngptlab plan --gpus N` uses. Its constants are measured here: operations a second of forward and
backward, bytes a second of the update, both in one process with one thread; bytes a second and latency of a sum by gloo, in two
processes. From these four the times of one, two and four processes are predicted. With more processes than cores each has its
share of a core. All numbers of processes take turns step by step, in processes that stay, so a noisy machine disturbs all alike.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import Floats, Spread, table, write
from benchmarks.processes import free_port, update
from benchmarks.sizes import SIZES, Size, add_sizes, check
from benchmarks.steps import WARM_UP_STEPS, bench_device, ours
from ngptlab.config import DeviceConfig
from ngptlab.flops import token_flops
from ngptlab.jobs.local import cores
from ngptlab.plan.links import Joined, Link
from ngptlab.plan.step_time import Machine, StepTime, Work, step_time
from ngptlab.world.launched import Launched
from ngptlab.world.processes import Processes

WAIT_SECONDS = 600.0
NUMBERS = (1, 2, 4)
PARTS = ("step", "passes", "update", "sum", "one number")
MOMENTS = 2


@dataclass(frozen=True)
class Case:
    """What is measured."""

    method: str
    size: str
    turns: int
    ports: dict[int, int]
    """By number of processes."""


@dataclass(frozen=True)
class Row:
    """A step at one number of processes."""

    method: str
    size: str
    processes: int
    measured_ms: Spread
    predicted_ms: float
    parts_ms: dict[str, float]
    """Of the prediction."""
    predicted_over_measured: Spread
    """Turn by turn."""


def parts_of(case: Case, number: int, rank: int) -> dict[str, Callable[[], object]]:
    """A step of one of so many processes, and its parts by themselves."""
    size, device = SIZES[case.size], bench_device(cuda=False, compiled=False)
    inputs, targets = size.sample(device.place)
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(case.ports[number])}
    model, idle = ours(case.method, size, device), ours(case.method, size, device)
    for parameter in idle.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    zero = torch.zeros(())
    if number == 1:

        def alone() -> None:
            model.gradients(inputs, targets, 1.0)
            update(model)

        return {
            "step": alone,
            "passes": lambda: model.gradients(inputs, targets, 1.0),
            "update": lambda: _moved(idle),
        }
    here = Launched(rank=rank, size=number, local_rank=rank, local_size=number)
    world = Processes(here, DeviceConfig(kind="cpu"))
    rows = world.rows(size.batch)
    inputs, targets = inputs[rows].contiguous(), targets[rows].contiguous()

    def together() -> None:
        loss = model.gradients(inputs, targets, 1 / number)
        world.sum_gradients(model.model.parameters(), loss, None)
        update(model)

    return {
        "step": together,
        "sum": lambda: world.sum_gradients(idle.model.parameters(), zero, None),
        "one number": lambda: world.any_stop(None),
    }


def _moved(stepper: Any) -> None:
    """An update, after which gradients are there again."""
    kept = [parameter.grad for parameter in stepper.model.parameters()]
    update(stepper)
    for parameter, gradient in zip(stepper.model.parameters(), kept, strict=True):
        parameter.grad = gradient


def worker(case: Case, number: int, rank: int, barrier: Barrier, results: Any) -> None:
    """Take part in every turn; puts its seconds, [turns, numbers, parts], NaN where it has none."""
    parts = parts_of(case, number, rank)
    for part in parts.values():
        for _ in range(WARM_UP_STEPS):
            part()
    seconds = np.full((case.turns, len(NUMBERS), len(PARTS)), np.nan)
    for turn in range(case.turns):
        for place in range(len(NUMBERS) * len(PARTS)):
            which, what = divmod((turn + place) % (len(NUMBERS) * len(PARTS)), len(PARTS))
            barrier.wait(WAIT_SECONDS)
            if NUMBERS[which] == number and PARTS[what] in parts:
                start = time.perf_counter()
                parts[PARTS[what]]()
                seconds[turn, which, what] = time.perf_counter() - start
    barrier.wait(WAIT_SECONDS)
    results.put(seconds)


def measured(case: Case) -> Floats:
    """Seconds of the slowest process, [turns, numbers, parts]."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(sum(NUMBERS)), context.Queue()
    started = [
        context.Process(target=worker, args=(case, number, rank, barrier, results), daemon=True)
        for number in NUMBERS
        for rank in range(number)
    ]
    for process in started:
        process.start()
    taken = np.stack([results.get(timeout=WAIT_SECONDS) for _ in started])
    for process in started:
        process.join()
    known = np.where(np.isnan(taken), -np.inf, taken).max(axis=0)
    return np.where(np.isneginf(known), np.nan, known)


def work_of(method: str, size: Size) -> Work:
    """A step without data and checkpoints."""
    params = sum(
        p.numel() for p in ours(method, size, bench_device(cuda=False, compiled=False)).model.parameters()
    )
    return Work(
        tokens=size.tokens,
        flops_per_token=token_flops(size.dims, size.context).total,
        again=0.0,
        params=params,
        kept=MOMENTS * params,
        owned=MOMENTS * params,
        shard="off",
        passes=1,
        units=size.dims.num_layers + 2,
        asynchronous=False,
        steps_between_checkpoints=1,
    )


def constants(work: Work, seconds: Floats) -> Machine:
    """A core, and what joins two of them, by medians over turns."""
    one, two = (
        {part: float(np.median(seconds[:, place, column])) for column, part in enumerate(PARTS)}
        for place in (0, 1)
    )
    unit = Machine(1.0, 1.0, Joined(1, 1, Link(1.0, 0.0), Link(1.0, 0.0)), 0.0, np.inf)
    alone = step_time(work, unit)
    link = Link(4 * work.params / (two["sum"] - two["one number"]), two["one number"])
    return Machine(
        alone.passes / one["passes"],
        alone.update / one["update"],
        Joined(1, 1, link, link),
        0.0,
        np.inf,
    )


def predicted(work: Work, machine: Machine, number: int) -> StepTime:
    """A step in so many processes, each of which has its share of the cores."""
    share, link = min(1.0, cores() / number), machine.joined.inside
    link = Link(share * link.bytes_per_second, link.latency / share)
    return step_time(
        work,
        Machine(
            share * machine.flops_per_second,
            share * machine.memory_bytes_per_second,
            Joined(number, 1, link, link),
            0.0,
            np.inf,
        ),
    )


def rows_of(case: Case) -> tuple[list[Row], Machine]:
    """One method at one size."""
    seconds, work = measured(case), work_of(case.method, SIZES[case.size])
    machine, rows = constants(work, seconds), []
    for place, number in enumerate(NUMBERS):
        steps, told = seconds[:, place, PARTS.index("step")], predicted(work, machine, number)
        parts = {name: round(1e3 * value, 4) for name, value in vars(told).items() if value}
        rows.append(
            Row(
                case.method,
                case.size,
                number,
                Spread.of(1e3 * steps),
                round(1e3 * told.total, 3),
                parts,
                Spread.of(told.total / steps),
            )
        )
    return rows, machine


def main() -> None:
    """Measure every case and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_sizes(parser, ["demo", "bytes"])
    parser.add_argument("--methods", nargs="+", default=["gpt", "ngpt"], metavar="M")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("out/bench/predicted.json"))
    options = parser.parse_args()
    check(options.sizes)
    rows: list[Row] = []
    known = {}
    for size in options.sizes:
        for method in options.methods:
            found, machine = rows_of(
                Case(method, size, options.turns, {number: free_port() for number in NUMBERS})
            )
            rows += found
            known[f"{method} {size}"] = {
                "flops_per_second": machine.flops_per_second,
                "memory_bytes_per_second": machine.memory_bytes_per_second,
                "sum_bytes_per_second": machine.joined.inside.bytes_per_second,
                "latency": machine.joined.inside.latency,
                "cores": cores(),
            }
    headings = ("method", "size", "processes", "measured ms", "predicted ms", "predicted / measured")
    shown = [
        (r.method, r.size, r.processes, r.measured_ms, f"{r.predicted_ms:.2f}", r.predicted_over_measured)
        for r in rows
    ]
    print(table(headings, shown))
    write(options.out, rows, constants=known)


if __name__ == "__main__":
    main()
