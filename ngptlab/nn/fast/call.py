"""Shared by fast forms: calls of functions with derivatives by hand, and whether there is a kernel."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

HAS_TRITON = torch.version.cuda is not None and sys.platform == "linux"
"""Whether torch comes with Triton, in which the kernels are written."""


def has_kernel(x: Tensor) -> bool:
    """Whether kernels of `nn.fast.kernels` take `x`, a tensor on CUDA. They take float32 and narrower dtypes."""
    return HAS_TRITON and x.dtype != torch.float64


def call(function: type[Function], *inputs: Any) -> Tensor:
    """`function.apply(*inputs)`; without a gradient its forward alone, because `apply` costs more than a small operation."""
    if torch.is_grad_enabled():
        return function.apply(*inputs)  # type: ignore[no-any-return, no-untyped-call]
    return function.forward(_NoContext(), *inputs)  # type: ignore[no-any-return]


class _NoContext:
    """Takes the place of the context where there will be no backward."""

    def save_for_backward(self, *tensors: Tensor) -> None:
        pass
