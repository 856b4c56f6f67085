"""When derivatives written by hand replace the plain formula.

Eagerly on a CPU every elementwise operation is a pass over memory, and autograd makes more of them than the mathematics
needs. There, functions of this package use `torch.autograd.Function`s with few passes. On CUDA, three of them have kernels,
compiled or not, for the compiler needs more passes. Everywhere else (compiled, in bfloat16 or under autocast on a CPU, under
torch.func) they use the plain formula beside it, which is also what tests compare with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function

HAS_TRITON = torch.version.cuda is not None and sys.platform == "linux"
"""Whether torch brought what kernels are written in."""

# A plain global: the compiler can read one, and breaks its graph at a context variable.
_mode: Literal["any", "plain", "stacked"] = "any"


@contextmanager
def plain_formulas() -> Iterator[None]:
    """Inside, every function uses its plain formula."""
    with _only("plain"):
        yield


@contextmanager
def stacked_models() -> Iterator[None]:
    """Inside, torch.func.vmap runs one formula for many models: plain ones, and operators that have a rule for it."""
    with _only("stacked"):
        yield


@contextmanager
def _only(mode: Literal["plain", "stacked"]) -> Iterator[None]:
    global _mode
    before, _mode = _mode, mode
    try:
        yield
    finally:
        _mode = before


def plain_only() -> bool:
    """Whether derivatives by hand are ruled out: `plain_formulas` or `stacked_models` is in force."""
    return _mode != "any"


def is_stacked() -> bool:
    """Whether `stacked_models` is in force; a tensor's values can't be looked at then."""
    return _mode == "stacked"


def is_stacked_on_cuda(x: Tensor) -> bool:
    """Whether `stacked_models` is in force and `x` on CUDA, where paths are made for many models at once."""
    return is_stacked() and x.is_cuda


def on_cpu(x: Tensor) -> bool:
    """Whether `x` is to take a path made for CPUs, compiled or not: there, in float32 or float64."""
    return _wide_on_cpu(x) and not plain_only()


def operator_on_cpu(x: Tensor) -> bool:
    """As `on_cpu`, for a path that is one operator and has a rule for stacked models."""
    return _wide_on_cpu(x) and _mode != "plain"


def has_kernel(x: Tensor) -> bool:
    """Whether `x` is to go through a kernel of `nn.fast.kernels`: on CUDA, in float32 or narrower."""
    return x.is_cuda and x.dtype != torch.float64 and HAS_TRITON and not plain_only()


def by_hand(x: Tensor) -> bool:
    """Whether `x` is to take the path with derivatives by hand: eagerly on a CPU, in float32 or float64."""
    return on_cpu(x) and not torch.compiler.is_compiling()


def call(function: type[Function], *inputs: Any) -> Tensor:
    """`function.apply(*inputs)`; without a gradient its forward alone, for `apply` costs more than a small operation."""
    if torch.is_grad_enabled():
        return function.apply(*inputs)  # type: ignore[no-any-return, no-untyped-call]
    return function.forward(_Nothing(), *inputs)  # type: ignore[no-any-return]


class _Nothing:
    """In place of the context, where there will be no backward."""

    def save_for_backward(self, *tensors: Tensor) -> None:
        pass


def _wide_on_cpu(x: Tensor) -> bool:
    # Under autocast products are narrower than what they are made of, and derivatives by hand take all of one dtype.
    wide = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    return wide and not torch.is_autocast_enabled("cpu")
