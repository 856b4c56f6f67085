"""A training step of any model, timed, and many of them interleaved in one process.

A step is forward, loss, backward, clipping, AdamW, and the weights' constraint: what a run pays for a batch, but for
reading it. Contestants take turns step by step, so that what else the machine does hits them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.machine import Floats
from benchmarks.sizes import Size
from ngptlab.config import OptimConfig
from ngptlab.device import Device, keep_freed_memory
from ngptlab.methods import build_model, load
from ngptlab.optim.groups import make_optimizer
from ngptlab.train.gradients import Gradients, Loss
from ngptlab.train.program import program

LR = 1e-3
WARM_UP_STEPS = 4
"""The first steps allocate, compile and record, where that is done; the fourth is like all that follow."""


@dataclass(frozen=True)
class Stepper:
    """A model, how it comes by its gradients, what trains it, and what has to be done after a step."""

    label: str
    model: nn.Module
    gradients: Gradients
    optimizer: torch.optim.Optimizer
    constraint: Callable[[], None]
    device: Device

    def step(self, tokens: Tensor, targets: Tensor) -> float:
        """Seconds of one step that is waited for."""
        start = time.perf_counter()
        self.queue(tokens, targets)
        self.device.synchronize()
        return time.perf_counter() - start

    def queue(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Ask for one step; its loss, once the device has come to it."""
        loss = self.gradients(tokens, targets)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.constraint()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    @property
    def plain(self) -> Stepper:
        """The same without a CUDA graph, for peak memory: the allocator doesn't count what a graph holds on to."""
        return replace(self, gradients=self.gradients.plain)


def bench_device(*, cuda: bool, compiled: bool) -> Device:
    """The device as real runs have it: bfloat16 on CUDA, freed memory kept on a CPU."""
    if not cuda:
        keep_freed_memory()
        return Device(torch.device("cpu"), torch.float32, compiled)
    return Device(torch.device("cuda", torch.cuda.current_device()), torch.bfloat16, compiled)


def compiled_or_not(loss: Loss, device: Device) -> Loss:
    """The loss as trainers would call it."""
    return torch.compile(loss) if device.compile else loss


def ours(method: str, size: Size, device: Device) -> Stepper:
    """A method of this package.

    Raises:
        ConfigError: there is no such method.
    """
    model = build_model(method, size.dims, seed=0).to(device.place)
    model.compute_dtype = device.compute_dtype
    optimizer = make_optimizer(model, OptimConfig(lr=LR, weight_decay=load(method).weight_decay))
    runs = program(model, device)
    return Stepper(method, model, runs.gradients, optimizer, runs.after_step, device)


def interleave(
    steppers: Sequence[Stepper],
    sample: tuple[Tensor, Tensor],
    turns: int,
    between: Callable[[int], None] = lambda turn: None,
) -> Floats:
    """Seconds of every step, [turns, contestants]; `between` is called after each turn.

    The one that begins changes from turn to turn, for the caches it finds are not those that the others find.
    """
    for stepper in steppers:
        for _ in range(WARM_UP_STEPS):
            stepper.step(*sample)
    seconds = np.zeros((turns, len(steppers)))
    for turn in range(turns):
        for place in range(len(steppers)):
            which = (turn + place) % len(steppers)
            seconds[turn, which] = steppers[which].step(*sample)
        between(turn)
    return seconds
