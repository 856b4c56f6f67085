"""Stacks on the paths that they take on a GPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ngptlab.nn import attention, linear, loss
from ngptlab.nn.by_hand import is_stacked


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same operators, on a CPU; products by at least two parts wherever rows can be halved."""
    for module in (attention, linear, loss):
        monkeypatch.setattr(module, "is_stacked_on_cuda", lambda x: is_stacked())
    monkeypatch.setattr(attention, "operator_on_cpu", lambda x: False)
    parts = {"most": 0}

    def halved(rows: int, outputs: int, inputs: int) -> int:
        found = rows & -rows
        parts["most"] = max(parts["most"], found)
        return found

    monkeypatch.setattr(linear, "_parts", halved)
    yield
    assert parts["most"] > 1, "taken"
