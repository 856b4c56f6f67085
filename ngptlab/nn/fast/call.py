"""What fast forms share: calls of functions with derivatives by hand, and whether there is a kernel."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

HAS_TRITON = torch.version.cuda is not None and sys.platform == "linux"
"""Whether torch brought what kernels are written in."""


def has_kernel(x: Tensor) -> bool:
    """Whether kernels of `nn.fast.kernels` take `x`, which lies on CUDA: in float32 or narrower."""
    return HAS_TRITON and x.dtype != torch.float64


def call(function: type[Function], *inputs: Any) -> Tensor:
    """`function.apply(*inputs)`; without a gradient its forward alone, for `apply` costs more than a small operation."""
    if torch.is_grad_enabled():
        return function.apply(*inputs)  # type: ignore[no-any-return, no-untyped-call]
    return function.forward(_Nothing(), *inputs)  # type: ignore[no-any-return]


class _Nothing:
    """In place of the context, where there will be no backward."""

    def save_for_backward(self, *tensors: Tensor) -> None:
        pass
