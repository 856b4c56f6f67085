"""One run in several processes against one process with as many threads: `python -m benchmarks.processes`.

Both take turns step by step, in alternating order, in processes that stay. A step is forward, backward, clipping, the method's
optimizer and the constraint on one batch; several processes have some of its rows each, one thread each, and sum their gradients
with gloo. Shown is the step's time over that of one process, turn by turn: by our own sum, and by torch's
DistributedDataParallel; then the milliseconds of our sum and of a sum of one number, which is what a separate agreement on a
signal would cost at every step. (The run's has none: the signals travel with the gradients.)
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.machine import Floats, Spread, ratios, table, write
from benchmarks.sizes import SIZES, add_sizes, check
from benchmarks.steps import WARM_UP_STEPS, Stepper, bench_device, ours
from ngptlab.config import DeviceConfig
from ngptlab.nn.decoder import Decoder
from ngptlab.world.launched import Launched
from ngptlab.world.processes import Processes

WAIT_SECONDS = 600.0
ARMS = ("one process", "own sum", "DDP", "sum alone", "one number")
Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """What is measured: a method at a size, and in how many processes."""

    method: str
    size: str
    processes: int
    turns: int
    port: int


@dataclass(frozen=True)
class Row:
    """One case measured; ratios are to one process with as many threads."""

    method: str
    size: str
    processes: int
    own_sum: Spread
    ddp: Spread
    sum_ms: Spread
    agreement_ms: Spread


class Scored(nn.Module):
    """A model whose forward pass is its loss, as DistributedDataParallel wants it."""

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.model.loss(inputs, targets)


def update(stepper: Stepper) -> None:
    """What follows the gradients."""
    torch.nn.utils.clip_grad_norm_(stepper.model.parameters(), 1.0)
    stepper.optimizer.step()
    stepper.constraint()
    stepper.optimizer.zero_grad(set_to_none=True)


def steps_of(case: Case, rank: int | None) -> dict[str, Step]:
    """The arms that a process takes part in; None: the process that is alone."""
    size, device = SIZES[case.size], bench_device(cuda=False, compiled=False)
    inputs, targets = size.sample(device.place)
    if rank is None:
        torch.set_num_threads(case.processes)
        alone = ours(case.method, size, device)
        return {"one process": lambda: alone.step(inputs, targets)}
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(case.port)}
    here = Launched(rank=rank, size=case.processes, local_rank=rank, local_size=case.processes)
    world = Processes(here, DeviceConfig(kind="cpu"))
    rows = world.rows(size.batch)
    inputs, targets = inputs[rows].contiguous(), targets[rows].contiguous()
    own, other, idle = (ours(case.method, size, device) for _ in range(3))
    wrapped = DistributedDataParallel(Scored(other.model))  # type: ignore[arg-type]

    def own_sum() -> None:
        loss = own.gradients(inputs, targets, 1 / case.processes)
        world.sum_gradients(own.model.parameters(), loss, None)
        update(own)

    def ddp() -> None:
        wrapped(inputs, targets).backward()
        update(other)

    for parameter in idle.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    zero = torch.zeros(())
    return {
        "own sum": own_sum,
        "DDP": ddp,
        "sum alone": lambda: world.sum_gradients(idle.model.parameters(), zero, None),
        "one number": lambda: world.any_stop(None),
    }


def worker(case: Case, rank: int | None, barrier: Barrier, results: Any) -> None:
    """Take part in every turn; puts the seconds of its arms, [turns, arms], NaN where it has none."""
    steps = steps_of(case, rank)
    for step in steps.values():
        for _ in range(WARM_UP_STEPS):
            step()
    seconds = np.full((case.turns, len(ARMS)), np.nan)
    for turn in range(case.turns):
        for place in range(len(ARMS)):
            which = (turn + place) % len(ARMS)
            barrier.wait(WAIT_SECONDS)
            arm = steps.get(ARMS[which])
            if arm is not None:
                start = time.perf_counter()
                arm()
                seconds[turn, which] = time.perf_counter() - start
    barrier.wait(WAIT_SECONDS)
    results.put(seconds)


def slowest(taken: Sequence[Floats]) -> Floats:
    """A step has ended when its last process has."""
    found: Floats = np.nanmax(np.stack(taken), axis=0)
    return found


def measure(case: Case) -> Row:
    """One case, in processes of its own."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(case.processes + 1), context.Queue()
    started = [
        context.Process(target=worker, args=(case, rank, barrier, results), daemon=True)
        for rank in (None, *range(case.processes))
    ]
    for process in started:
        process.start()
    seconds = slowest([results.get(timeout=WAIT_SECONDS) for _ in started])
    for process in started:
        process.join()
    compared = ratios(seconds)
    return Row(
        method=case.method,
        size=case.size,
        processes=case.processes,
        own_sum=compared[ARMS.index("own sum")],
        ddp=compared[ARMS.index("DDP")],
        sum_ms=Spread.of(1e3 * seconds[:, ARMS.index("sum alone")]),
        agreement_ms=Spread.of(1e3 * seconds[:, ARMS.index("one number")]),
    )


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> None:
    """Measure every case and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_sizes(parser, ["demo", "bytes"])
    parser.add_argument("--methods", nargs="+", default=["gpt", "ngpt"], metavar="M")
    parser.add_argument(
        "--processes", type=int, default=2, help="and threads of the one process (default: 2)"
    )
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("out/bench/processes.json"))
    options = parser.parse_args()
    check(options.sizes)
    rows: list[Row] = []
    try:
        for size in options.sizes:
            for method in options.methods:
                rows.append(measure(Case(method, size, options.processes, options.turns, free_port())))
                print(f"{method} {size}: {rows[-1].own_sum}", flush=True)
    finally:  # what was measured is kept where a later case breaks off
        headings = ("method", "size", "processes", "own sum / one", "DDP / one", "sum ms", "one number ms")
        shown = [(r.method, r.size, r.processes, r.own_sum, r.ddp, r.sum_ms, r.agreement_ms) for r in rows]
        print(table(headings, shown))
        write(options.out, rows)


if __name__ == "__main__":
    main()
