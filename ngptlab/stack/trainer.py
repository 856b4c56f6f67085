"""The training loop for a stack: one batched update, then each run records, measures and saves as it would alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ngptlab.errors import LabError
from ngptlab.optim.schedule import lr_factor
from ngptlab.stack.models import Stack
from ngptlab.stack.optim import StackedAdamW, clip
from ngptlab.train.gradients import Gradients
from ngptlab.train.stop import Stopped
from ngptlab.train.trainer import TokenArray, Trainer


@dataclass(eq=False)
class StackTrainer:
    """Trains runs together that differ in seeds, rates, decay and rules of parametrization only."""

    trainers: Sequence[Trainer]
    """One a run. Two with equal data may share their batches."""
    fail: Callable[[Trainer, LabError], None]
    """Told of a run that diverged or can't be saved. The others go on."""
    _live: list[Trainer] = field(default_factory=list, init=False)

    def fit(self) -> list[Trainer]:
        """Train to the last step; the runs that got there.

        Raises:
            Stopped: a signal asked for it; every run was saved at the step it names, but for those that failed.
        """
        self._live = list(self.trainers)
        begun: dict[Trainer, int] = {}
        self._each(lambda trainer: begun.update({trainer: trainer.begin()}))
        first = max(begun.values(), default=0)
        # One whose newest checkpoint was damaged is behind: it comes after alone.
        self._each(lambda trainer: trainer.advance(begun[trainer], first))
        if not self._live:
            return []
        self._gather(first)
        for step in range(first, self._live[0].config.train.steps):
            self._update(step)
            if not self._live:
                break
        return self._live

    def _gather(self, steps: int) -> None:
        compiled = self._live[0].device.compile
        self._stack = Stack([trainer.model for trainer in self._live], compiled=compiled)
        self._gradients = Gradients(self._stack.losses)
        self._adamw = StackedAdamW(self._stack, [trainer.optimizer for trainer in self._live], steps=steps)

    def _update(self, step: int) -> None:
        first, start = self._live[0], time.perf_counter()
        inputs_MBT, targets_MBT = self._batch(step)
        data_seconds = time.perf_counter() - start
        losses_M = self._accumulate(inputs_MBT, targets_MBT)
        norms_M = clip(self._stack.gradients(), first.config.optim.grad_clip)
        losses, norms = losses_M.tolist(), norms_M.tolist()
        self._adamw.step(lr_factor(first.config, step))
        self._stack.after_step()
        self._stack.zero_grad()
        first.device.synchronize()
        # Each run's share of the time, so that the times of all runs add up to that of the stack.
        share = 1 / len(self._live)
        seconds = (time.perf_counter() - start) * share
        rows = {trainer: row for row, trainer in enumerate(self._live)}

        def record(trainer: Trainer) -> None:
            row = rows[trainer]
            line = trainer.record(step, losses[row], norms[row])
            timing = trainer.meter.record(step + 1, step_seconds=seconds, data_seconds=data_seconds * share)
            trainer.record_step(line, timing)

        self._each(record)
        # Asked for once: a signal between two runs must find both saved, or neither.
        stop = first.request.signal_number
        if first.saves_after(step + 1, stop):
            self._adamw.count()
        self._each(lambda trainer: trainer.save_step(step + 1, stop=stop))
        if self._live and len(self._live) < len(rows):
            kept = [rows[trainer] for trainer in self._live]
            self._stack.keep(kept)
            self._adamw.keep(kept)

    def _each(self, act: Callable[[Trainer], object]) -> None:
        """Act on every live run; one that fails is told of and dropped. A stop is raised after all had their turn."""
        stopped = None
        for trainer in list(self._live):
            try:
                act(trainer)
            except Stopped as caught:
                stopped = caught
            except LabError as error:
                self._live.remove(trainer)
                self.fail(trainer, error)
        if stopped is not None:
            raise stopped

    def _batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of every run, [M, B, T] each."""
        taken: dict[int, tuple[TokenArray, TokenArray]] = {}
        for trainer in self._live:
            if id(trainer.batches) not in taken:
                taken[id(trainer.batches)] = trainer.batches.at(step)
        pairs = [taken[id(trainer.batches)] for trainer in self._live]
        send = self._live[0].device.send
        inputs_MBT, targets_MBT = (send(np.stack(arrays)) for arrays in zip(*pairs, strict=True))
        return inputs_MBT, targets_MBT

    def _accumulate(self, inputs_MBT: Tensor, targets_MBT: Tensor) -> Tensor:
        """Mean loss of each batch, [M]; gradients are in the stack, summed over micro-batches."""
        batch_size = inputs_MBT.shape[1]
        size = self._live[0].config.device.micro_batch or batch_size
        total_M = torch.zeros(len(inputs_MBT), device=inputs_MBT.device)
        chunks = (torch.split(tensor, size, dim=1) for tensor in (inputs_MBT, targets_MBT))
        for inputs, targets in zip(*chunks, strict=True):
            total_M += self._gradients(inputs, targets, size / batch_size)
        return total_M
