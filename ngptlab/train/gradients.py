"""Loss and gradients of a batch: called operation by operation, or replayed on CUDA as one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from ngptlab.train.recorded import CALLS_BEFORE, Recorded

Loss = Callable[[Tensor, Tensor], Tensor]


class Gradients:
    """The loss of a batch, and its gradient added to the parameters'."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss

    def __call__(self, inputs: Tensor, targets: Tensor, share: float = 1.0) -> Tensor:
        """`share` times the loss in nats, detached; [M] for a stack of models, each of which gets its own gradient.

        Shapes: inputs and targets [B, T], for a stack [M, B, T].
        """
        losses = self._loss(inputs, targets) * share
        losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses.detach()

    @property
    def plain(self) -> Gradients:
        """The same, each operation launched as it is called."""
        return Gradients(self._loss)

    def release(self) -> None:
        """Give up memory that is kept for a next call. Such a call may come all the same."""


@dataclass(frozen=True)
class Recording:
    """A recorded call of `Gradients`, and where it adds each parameter's gradient."""

    call: Recorded
    gradients: list[Tensor | None]


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
        self._sets: Recording | None = None
        self._adds: Recording | None = None

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
            return self._adds.call.replay(inputs, targets)
        return super().__call__(inputs, targets, share)

    def release(self) -> None:
        self._sets = self._adds = None

    def _set(self, recording: Recording, inputs: Tensor, targets: Tensor) -> Tensor:
        losses = recording.call.replay(inputs, targets)
        for parameter, grad in zip(self._parameters, recording.gradients, strict=True):
            parameter.grad = grad
        return losses

    def _record(self, inputs: Tensor, targets: Tensor, share: float) -> Recording:
        sets = self._sets.call if self._sets else None
        call = Recorded(partial(self.plain, share=share), (inputs, targets), sets)
        return Recording(call, [parameter.grad for parameter in self._parameters])
