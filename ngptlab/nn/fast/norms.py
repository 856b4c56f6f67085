"""Norms over the last axis, and their gradient in one pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ngptlab.nn.fast.call import call
from ngptlab.nn.precision import NORM_FLOOR


def normed_by_hand(x: Tensor, size: float, floor: float) -> Tensor:
    """size x / sqrt(||x||^2 + floor), with one pass for the backward."""
    return call(_Normed, x, size, floor)


def lengths(x: Tensor, floor: float = NORM_FLOOR**2) -> Tensor:
    """sqrt(||x||^2 + floor) over the last axis, which is kept."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return length.square_().add_(floor).sqrt_()


def normed_backward(grad: Tensor, direction: Tensor, factor: Tensor, length: Tensor) -> Tensor:
    """factor / length * (grad - direction (direction . grad) / length^2) over the last axis, in one pass.

    This is the gradient of factor * v / length where `direction` is v, and also where it is v / length and `length` is 1.
    torch has this pass as the backward of weight norm, which takes all its inputs for contiguous.
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
