"""A tensor whose values are somewhere else. Its shape is known, and whoever mixes it with values gets an error.

Torch's meta device alone is not enough: a product of a matrix with values and one without may give whatever was in memory, and an
operation in place may leave its target as it was, both without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class Elsewhere(Tensor):
    """On the meta device. Operations among such tensors give such tensors; with any other they raise RuntimeError."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(not isinstance(tensor, Elsewhere) for tensor in _tensors((args, kwargs))):
            raise RuntimeError(f"{getattr(func, '__name__', func)} of weights that are in another process")
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]


def elsewhere(like: Tensor) -> Elsewhere:
    """A tensor of this shape and dtype without values."""
    return torch.empty(like.shape, dtype=like.dtype, device="meta").as_subclass(Elsewhere)


def _tensors(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, tuple | list):
        for each in given:
            yield from _tensors(each)
    elif isinstance(given, dict):
        yield from _tensors(tuple(given.values()))
