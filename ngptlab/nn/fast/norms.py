"""Norms over the last axis, computed in float32 at least and returned in the dtype given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ngptlab.nn.situations import by_hand, call

NORM_FLOOR = 1e-12
"""Norm below which a vector counts as zero, so that an all-zero vector stays zero instead of becoming NaN."""


def wide(x: Tensor) -> Tensor:
    """`x` in float32, or as it is where it is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit_norm(x: Tensor) -> Tensor:
    """x / ||x|| over the last axis, without gain (arXiv:2410.01131, section 2)."""
    return _normed(x, 1.0, NORM_FLOOR**2)


def rms_norm(x: Tensor) -> Tensor:
    """x / rms(x) over the last axis, without gain; epsilon is the machine's for the dtype of the computation."""
    width = x.shape[-1]
    return _normed(x, width**0.5, width * torch.finfo(torch.promote_types(x.dtype, torch.float32)).eps)


def _normed(x: Tensor, size: float, floor: float) -> Tensor:
    """size x / sqrt(||x||^2 + floor)."""
    if by_hand(x):
        return call(_Normed, x, size, floor)
    x_wide = wide(x)
    factor: Tensor = size * torch.rsqrt(x_wide.square().sum(-1, keepdim=True) + floor)
    return (x_wide * factor).to(x.dtype)


def lengths(x: Tensor, floor: float = NORM_FLOOR**2) -> Tensor:
    """sqrt(||x||^2 + floor) over the last axis, which is kept."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return length.square_().add_(floor).sqrt_()


def normed_backward(grad: Tensor, direction: Tensor, factor: Tensor, length: Tensor) -> Tensor:
    """factor / length * (grad - direction (direction . grad) / length^2) over the last axis, in one pass.

    This is the gradient of factor * v / length where `direction` is v, and also where it is v / length and `length` is 1.
    torch has the pass as the backward of weight norm, which reads whatever it is given as contiguous.
    """
    rows = (x.contiguous().flatten(0, -2) for x in (grad, direction, factor, length))
    grad_v, _ = torch.ops.aten._weight_norm_interface_backward(*rows, 0)
    return grad_v.view(grad.shape)  # type: ignore[no-any-return]


class _Normed(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, size: float, floor: float) -> Tensor:
        length = lengths(x, floor)
        ctx.save_for_backward(x, length)
        ctx.size = size
        return x * (size / length)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, length = ctx.saved_tensors
        return normed_backward(grad, x, torch.full_like(length, ctx.size), length), None, None
