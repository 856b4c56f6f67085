"""Loss and gradients of a batch: called operation by operation, or replayed on CUDA as one graph.

A step of a small model, or on a machine whose processor is slow or shared, is a thousand launches that the GPU waits for. A
CUDA graph is one launch: the same kernels on the same addresses, so the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ngptlab.errors import ConfigError

Loss = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]

CALLS_BEFORE = 2
"""Calls that compile, tune and make workspaces, which a recording must not hold. With micro-batches, one that sets and one
that adds."""


class Gradients:
    """The loss of a batch, and its gradient added to the parameters'."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def __call__(self, inputs: Tensor, targets: Tensor, share: float = 1.0) -> Tensor:
        """`share` times the loss in nats, detached; [M] of a stack of models, whose gradients don't touch.

        Shapes: inputs and targets [B, T], of a stack [M, B, T].
        """
        losses = self._loss(inputs, targets) * share
        losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    @property
    def plain(self) -> Gradients:
        """The same, each operation launched as it is called."""
        return Gradients(self._loss)

    def release(self) -> None:
        """Keep no memory for a next call, which may come all the same."""


class Recorded:
    """One call of `Gradients`, recorded; what it reads and writes stays where it is. `batch` is inputs and targets."""

    def __init__(
        self, compute: Loss, batch: Batch, parameters: Sequence[Tensor], beside: Recorded | None
    ) -> None:
        self._inputs, self._targets = (x.clone() for x in batch)
        self._graph = torch.cuda.CUDAGraph()
        # Never replayed at once, two recordings have the same memory for what neither keeps.
        pool = beside._graph.pool() if beside else None
        # Other threads may allocate meanwhile; that is no part of the recording.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._losses = compute(self._inputs, self._targets)
        self.gradients = [p.grad for p in parameters]

    def replay(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The losses of another batch. Where its gradients are added to is in `gradients`."""
        self._inputs.copy_(inputs)
        self._targets.copy_(targets)
        self._graph.replay()
        return self._losses.clone()


class Replayed(Gradients):
    """As `Gradients`, replayed from its third call on. There are two recordings: one sets gradients, one adds to them.

    The shape and share recorded are those of the first call; others are computed as if there were no graph. What a step needs
    at its peak, the gradients included, is kept from step to step.
    """

    def __init__(self, loss: Loss, parameters: Sequence[Tensor]) -> None:
        super().__init__(loss)
        self._parameters = list(parameters)
        self._calls = 0
        self._alike: object = None
        self._sets: Recorded | None = None
        self._adds: Recorded | None = None

    def __call__(self, inputs: Tensor, targets: Tensor, share: float = 1.0) -> Tensor:
        """As `Gradients`.

        Raises:
            ConfigError: the loss can't be recorded.
        """
        alike = inputs.shape, targets.shape, share
        self._alike = self._alike or alike
        self._calls += 1
        if self._calls <= CALLS_BEFORE or alike != self._alike:
            return super().__call__(inputs, targets, share)
        gradients = [p.grad for p in self._parameters]
        if all(grad is None for grad in gradients):
            self._sets = self._sets or self._record(inputs, targets, share)
            return self._set(self._sets, inputs, targets)
        if self._sets and all(a is b for a, b in zip(gradients, self._sets.gradients, strict=True)):
            self._adds = self._adds or self._record(inputs, targets, share)
            return self._adds.replay(inputs, targets)
        return super().__call__(inputs, targets, share)

    def release(self) -> None:
        self._sets = self._adds = None

    def _set(self, recorded: Recorded, inputs: Tensor, targets: Tensor) -> Tensor:
        losses = recorded.replay(inputs, targets)
        for parameter, grad in zip(self._parameters, recorded.gradients, strict=True):
            parameter.grad = grad
        return losses

    def _record(self, inputs: Tensor, targets: Tensor, share: float) -> Recorded:
        try:
            compute = partial(self.plain, share=share)
            return Recorded(compute, (inputs, targets), self._parameters, self._sets)
        except RuntimeError as error:  # after it, torch has no random numbers on this device any more
            raise ConfigError(
                f"no CUDA graph can be made of this loss ({_cause(error)}). Often something in it waits for the GPU or copies "
                "to it, such as .item(), .tolist(), or torch.tensor of numbers: compute it on the device, or give "
                "--device.graphs off"
            ) from error


def _cause(error: BaseException) -> str:
    """Its first line. That a recording can't be ended says nothing of why."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0]
