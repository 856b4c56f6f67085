"""Seconds and peak memory of a training step of several methods at several sizes, all taking turns.

A turn is one step of every method at every size. What else the machine does for a while then slows all of them alike, and
a median over the turns leaves it out.

A step is forward, loss, backward, clipping, AdamW and the weights' constraint, without compilation. Memory is tracked, not
sampled: weights, optimizer state and batch by their sizes, and above them the highest sum of what a step has allocated
and not freed, from torch's own record of every allocation. It is exact and the same in every run, but doesn't see
workspaces inside libraries, nor Python.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from ngptlab.bench.axes import Point
from ngptlab.config import OptimConfig
from ngptlab.device import Device, quiet_profiler
from ngptlab.methods import build_model, load
from ngptlab.optim.groups import make_optimizer

WARMUP_STEPS = 2


@dataclass(frozen=True)
class Cost:
    """What a step of one method takes at one point."""

    seconds: tuple[float, ...]
    """One for each turn."""
    peak_bytes: int


class Stepper:
    """A method's model, optimizer and batch; one update a call."""

    def __init__(self, method: str, point: Point, device: Device) -> None:
        self.device = device
        self.model = build_model(method, point.dims, seed=0).to(device.place)
        self.model.compute_dtype = device.compute_dtype
        self.optimizer = make_optimizer(self.model, OptimConfig(weight_decay=load(method).weight_decay))
        generator = torch.Generator().manual_seed(0)
        shape = (point.batch, point.context + 1)
        self.tokens_BT = torch.randint(point.dims.vocab_size, shape, generator=generator).to(device.place)

    def __call__(self) -> None:
        self.model.loss(self.tokens_BT[:, :-1], self.tokens_BT[:, 1:]).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.model.after_step()
        self.optimizer.zero_grad(set_to_none=True)
        self.device.synchronize()

    def held_bytes(self) -> int:
        """Bytes that are held between steps."""
        state = [value for values in self.optimizer.state.values() for value in values.values()]
        held: list[Tensor] = [self.tokens_BT, *self.model.parameters(), *state]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


def measure(
    methods: Sequence[str],
    points: Sequence[Point],
    *,
    turns: int,
    device: Device,
    tell: Callable[[str], None],
) -> dict[str, list[Cost]]:
    """The costs of every method, in the order of the points. All models are alive at once."""
    steppers = [[Stepper(method, point, device) for method in methods] for point in points]
    for stepper in chain(*steppers):
        for _ in range(WARMUP_STEPS):
            stepper()
    seconds: list[list[list[float]]] = []
    for turn in range(turns):
        seconds.append([[_seconds(stepper) for stepper in row] for row in steppers])
        tell(f"turn {turn + 1} of {turns}")
    return {
        method: [
            Cost(tuple(turn[i][j] for turn in seconds), row[j].held_bytes() + most_allocated(row[j], device))
            for i, row in enumerate(steppers)
        ]
        for j, method in enumerate(methods)
    }


def most_allocated(work: Callable[[], object], device: Device) -> int:
    """Bytes that `work` has allocated and not freed, at their highest."""
    if device.place.type == "cuda":
        before = torch.cuda.memory_allocated(device.place)
        torch.cuda.reset_peak_memory_stats(device.place)
        work()
        return torch.cuda.max_memory_allocated(device.place) - before
    quiet_profiler()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    assert record.profiler is not None and record.profiler.kineto_results is not None
    events = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(0, *accumulate(event.nbytes() for event in events)) if events else 0


def _seconds(stepper: Stepper) -> float:
    start = time.perf_counter()
    stepper()
    return time.perf_counter() - start
