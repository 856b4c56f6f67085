"""The training loop for a stack: one batched update, then each run records, measures and saves as it would alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from ngptlab.errors import LabError
from ngptlab.nn.structure import Schedule
from ngptlab.optim.pace import pace
from ngptlab.stack.models import Stack
from ngptlab.stack.optim import StackedAdamW
from ngptlab.stack.update import StackUpdate
from ngptlab.train.stop import Stopped
from ngptlab.train.trainer import TokenArray, Trainer


@dataclass(eq=False)
class StackTrainer:
    """Trains runs together that differ in seeds, learning rate, weight decay and rules of parametrization only."""

    trainers: Sequence[Trainer]
    """One a run. Two with equal data may share their batches."""
    fail: Callable[[Trainer, LabError], None]
    """Told of a run that diverged or can't be saved. The others go on."""
    _live: list[Trainer] = field(default_factory=list, init=False)

    def fit(self) -> list[Trainer]:
        """Train to the last step. Returns the runs that got there.

        Raises:
            Stopped: a signal asked for it; every run was saved at the step it names, except those that failed.
        """
        self._live = list(self.trainers)
        begun: dict[Trainer, int] = {}
        self._each(lambda trainer: begun.update({trainer: trainer.begin()}))
        first = max(begun.values(), default=0)
        # A run whose newest checkpoint was damaged is behind the others. It is trained alone afterwards.
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
        first = self._live[0]
        stack = Stack([trainer.model for trainer in self._live], compiled=first.device.compile)
        self._stack_update = StackUpdate(
            stack,
            StackedAdamW(stack, [trainer.optimizer for trainer in self._live], steps=steps),
            grad_clip=first.config.optim.grad_clip,
            micro_batch=first.config.device.micro_batch,
            graph=first.device.records,
        )

    def _update(self, step: int) -> None:
        first, start = self._live[0], time.perf_counter()
        inputs_MBT, targets_MBT = self._batch(step)
        data_seconds = time.perf_counter() - start
        factor, _ = pace(first.config, Schedule(), step)
        losses, norms = self._stack_update(inputs_MBT, targets_MBT, factor).tolist()
        # Each run's share of the time, so that the times of all runs add up to that of the stack.
        share = 1 / len(self._live)
        seconds = (time.perf_counter() - start) * share
        rows = {trainer: row for row, trainer in enumerate(self._live)}

        def record(trainer: Trainer) -> None:
            row = rows[trainer]
            line = trainer.record(step, losses[row], norms[row], updated=True)
            timing = trainer.time(step, step_seconds=seconds, data_seconds=data_seconds * share)
            trainer.record_step(line, timing)

        self._each(record)
        # The signal is asked for once, because one that comes between two runs must find both saved, or neither.
        stop = first.request.signal_number
        if first.saves_after(step + 1, stop):
            self._stack_update.adamw.count()
        self._each(lambda trainer: trainer.save_step(step + 1, stop=stop))
        if self._live and len(self._live) < len(rows):
            self._stack_update.keep([rows[trainer] for trainer in self._live])

    def _each(self, act: Callable[[Trainer], object]) -> None:
        """Act on every live run. A run that fails is reported and dropped. A stop is raised after all had their turn."""
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
