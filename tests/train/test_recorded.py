"""What a recording says where it fails; recordings themselves need CUDA and have tests marked gpu."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from ngptlab.errors import ConfigError
from ngptlab.train.recorded import Recorded


@contextlib.contextmanager
def failing(*_: object, **__: object) -> Iterator[None]:
    """As torch does it: a recording can't be ended, because of what happened in it."""
    try:
        yield
    finally:
        raise RuntimeError("operation failed due to a previous error during capture")


def waits(_: Tensor) -> Tensor:
    raise RuntimeError("operation not permitted when stream is capturing\nand much more")


@pytest.fixture(autouse=True)
def graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", failing)


def too_large(_: Tensor) -> Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_what_cannot_be_recorded() -> None:
    with pytest.raises(
        ConfigError, match=r"\(operation not permitted when stream is capturing\).*--device.graphs off"
    ):
        Recorded(waits, [torch.ones(3)])


def test_out_of_memory_is_said_as_it_is() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        Recorded(too_large, [torch.ones(3)])
