"""Stacks on the paths that they take on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from torch import Tensor

from ngptlab.nn import forms
from ngptlab.nn.fast import linear, mean_loss
from ngptlab.nn.fast.linear import in_parts
from ngptlab.nn.situations import Situation, is_stacked, situation


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same operators, on a CPU; products in as many parts as there are twos in their rows."""
    monkeypatch.setattr(
        forms, "situation", lambda x: Situation.CUDA_STACKED if is_stacked() else situation(x)
    )
    monkeypatch.setattr(linear, "_parts", lambda rows, outputs, inputs: rows & -rows)
    parted: set[str] = set()

    def noted(caller: str, x_NI: Tensor, weight_OI: Tensor) -> Tensor:
        if linear._parts(len(x_NI), *weight_OI.shape) > 1:
            parted.add(caller)
        return in_parts(x_NI, weight_OI)

    for module in (linear, mean_loss):
        monkeypatch.setattr(module, "in_parts", partial(noted, module.__name__))
    yield
    assert parted == {linear.__name__, mean_loss.__name__}
