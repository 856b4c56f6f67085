"""When derivatives written by hand replace the plain formula.

Eagerly on a CPU every elementwise operation is a pass over memory, and autograd makes more of them than the mathematics
needs. There, functions of this package use `torch.autograd.Function`s with few passes. Everywhere else (compiled, on
CUDA, in bfloat16, under torch.func) they use the plain formula beside it, which is also what tests compare with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_allowed = ContextVar("by_hand", default=True)


@contextmanager
def plain_formulas() -> Iterator[None]:
    """Inside, every function uses its plain formula."""
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)


def plain_only() -> bool:
    """Whether `plain_formulas` is in force."""
    return not _allowed.get()


def on_cpu(x: Tensor) -> bool:
    """Whether `x` is to take a path made for CPUs, compiled or not: there, in float32 or float64."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not plain_only()


def by_hand(x: Tensor) -> bool:
    """Whether `x` is to take the path with derivatives by hand: eagerly on a CPU, in float32 or float64."""
    return on_cpu(x) and not torch.compiler.is_compiling()
