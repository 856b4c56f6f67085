"""A mean of the weights beside them, kept in the optimizer's state: a checkpoint then holds it, and a resumed run goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ngptlab.errors import ConfigError
from ngptlab.nn.decoder import Decoder

KEY = "average"
"""Its name in the state of each parameter."""
EVAL = "val_average"
"""What its validation is called in `evals.jsonl`."""


class Average:
    """Running mean of a model's weights over its updates.

    Args:
        stays: (updates) -> how much of the mean stays when the weights after that many updates are added; 0 at the first.
        share: gives every process the weights of those that keep an optimizer's state for them.
    """

    def __init__(
        self,
        model: Decoder,
        optimizer: torch.optim.Optimizer,
        stays: Callable[[int], float],
        share: Callable[[], None] = lambda: None,
    ) -> None:
        self._model, self._optimizer, self._stays, self._share = model, optimizer, stays, share

    @torch.no_grad()
    def add(self, updates: int) -> None:
        """Add the weights as they are after so many updates, the constraint included. Their gradients are still there.

        Raises:
            ConfigError: the optimizer has moved a weight and keeps no state for it, so that its mean has no place.
        """
        share = 1.0 - self._stays(updates)
        for name, weight in self._model.named_parameters():
            # An optimizer takes a parameter with no state at all for a new one, so that none is made before it has moved it.
            if state := self._optimizer.state.get(weight):
                if KEY in state:
                    state[KEY].lerp_(weight, share)
                else:
                    state[KEY] = weight.detach().clone()
            elif weight.grad is not None:
                raise ConfigError(
                    f"average: the optimizer keeps no state for {name}, and a mean of the weights is kept there; take another "
                    "optimizer, or --seams.average of a method that keeps no mean"
                )

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model's weights are the mean, brought back to the method's constraint; afterwards its own, bit for bit."""
        own = [weight.detach().clone() for weight in self._model.parameters()]
        try:
            self._set([self._optimizer.state.get(p, {}).get(KEY, p) for p in self._model.parameters()])
            self._share()
            self._model.after_step()
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for weight, value in zip(self._model.parameters(), values, strict=True):
            weight.copy_(value)
