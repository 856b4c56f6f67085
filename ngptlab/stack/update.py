"""One update of a stack: called operation by operation, or replayed on CUDA as one graph."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ngptlab.stack.models import Stack
from ngptlab.stack.optim import StackedAdamW, clip
from ngptlab.train.gradients import Gradients
from ngptlab.train.recorded import CALLS_BEFORE, Recorded


class StackUpdate:
    """Gradients, clipping, AdamW and the constraint of all models.

    It takes `micro_batch` sequences of each model at a time, 0 for all. With `graph` it is replayed from the third call on,
    because small models need thousands of launches a step. All batches then have one shape.
    """

    def __init__(
        self,
        stack: Stack,
        adamw: StackedAdamW,
        *,
        grad_clip: float,
        micro_batch: int = 0,
        graph: bool = False,
    ) -> None:
        self.stack, self.adamw = stack, adamw
        self._gradients = Gradients(stack.losses)
        self._grad_clip, self._micro_batch = grad_clip, micro_batch
        self._graph, self._calls = graph, 0
        self._recorded: Recorded | None = None

    def __call__(self, inputs_MBT: Tensor, targets_MBT: Tensor, factor: float) -> Tensor:
        """Update at `factor` times the peak learning rates. Returns losses in nats and gradient norms from before it, [2, M].

        Shapes: inputs and targets [M, B, T].
        Raises:
            ConfigError: the update can't be recorded.
        """
        numbers, place = self.adamw.advance(factor), inputs_MBT.device
        self._calls += 1
        if not self._graph or self._calls <= CALLS_BEFORE:
            return self._update(inputs_MBT, targets_MBT, numbers.to(place))
        if self._recorded is None:
            self._recorded = Recorded(self._update, (inputs_MBT, targets_MBT, numbers.to(place)))
        return self._recorded.replay(inputs_MBT, targets_MBT, numbers)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these models alone, which are another program."""
        self.stack.keep(rows)
        self.adamw.keep(rows)
        self._recorded, self._calls = None, 0

    def _update(self, inputs_MBT: Tensor, targets_MBT: Tensor, numbers: Tensor) -> Tensor:
        losses_M = self._accumulate(inputs_MBT, targets_MBT)
        norms_M = clip(self.stack.gradients(), self._grad_clip)
        self.adamw.step(numbers)
        self.stack.after_step()
        self.stack.zero_grad()
        return torch.stack((losses_M, norms_M))

    def _accumulate(self, inputs_MBT: Tensor, targets_MBT: Tensor) -> Tensor:
        """Mean loss of each batch, [M]; gradients are in the stack, summed over micro-batches."""
        batch_size = inputs_MBT.shape[1]
        size = self._micro_batch or batch_size
        inputs, targets = (torch.split(x, size, dim=1) for x in (inputs_MBT, targets_MBT))
        losses = [self._gradients(*batch, size / batch_size) for batch in zip(inputs, targets, strict=True)]
        return torch.stack(losses).sum(0)
