"""Stacks on the paths that they take on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from torch import Tensor

from ngptlab.nn import loss
from ngptlab.nn.fast import attention, linear
from ngptlab.nn.fast.linear import in_parts
from ngptlab.nn.situations import is_stacked


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same operators, on a CPU; products in as many parts as there are twos in their rows."""
    for module in (attention, linear, loss):
        monkeypatch.setattr(module, "is_stacked_on_cuda", lambda x: is_stacked())
    monkeypatch.setattr(attention, "operator_on_cpu", lambda x: False)
    monkeypatch.setattr(linear, "_parts", lambda rows, outputs, inputs: rows & -rows)
    parted: set[str] = set()

    def noted(caller: str, x_NI: Tensor, weight_OI: Tensor) -> Tensor:
        if linear._parts(len(x_NI), *weight_OI.shape) > 1:
            parted.add(caller)
        return in_parts(x_NI, weight_OI)

    for module in (linear, loss):
        monkeypatch.setattr(module, "in_parts", partial(noted, module.__name__))
    yield
    assert parted == {linear.__name__, loss.__name__}
