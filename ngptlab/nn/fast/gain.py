"""A factor for each channel, and sums over tokens of products of channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ngptlab.nn.fast.call import call


def gain_by_hand(x: Tensor, factor: Tensor) -> Tensor:
    """x * factor; the gradient of `factor` in one pass."""
    return call(_Gain, x, factor)


class _Gain(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(x, factor)
        return x * factor

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, factor = ctx.saved_tensors
        dots = column_dot(grad.flatten(-factor.dim()), x.flatten(-factor.dim()))
        return grad * factor, dots.view_as(factor)


def column_dot(x: Tensor, y: Tensor) -> Tensor:
    """sum(x * y) over all axes but the last, in one pass: torch has it as the gradient of a layer norm's gain."""
    width = x.shape[-1]
    x_ND, y_ND = x.reshape(-1, width), y.reshape(-1, width)
    zero_N1, one_N1, gain_D = x.new_zeros(len(x_ND), 1), x.new_ones(len(x_ND), 1), x.new_ones(width)
    _, dot_D, _ = torch.ops.aten.native_layer_norm_backward(
        x_ND, y_ND, [width], zero_N1, one_N1, gain_D, None, [False, True, False]
    )
    return dot_D  # type: ignore[no-any-return]
