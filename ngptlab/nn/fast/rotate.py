"""RoPE's turn in few passes."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ngptlab.nn.fast.call import call
from ngptlab.nn.rope import Rope


def rotate_by_hand(x_BTHK: Tensor, rope: Rope) -> Tensor:
    """Each pair of channels turned by its position's angle; the gradient is turned back."""
    return call(_Rotated, x_BTHK, *rope)


class _Rotated(Function):
    """Its gradient is the turn back: the same with minus the sines."""

    @staticmethod
    def forward(ctx: Any, x_BTHK: Tensor, cos_THK: Tensor, sin_THK: Tensor) -> Tensor:
        ctx.save_for_backward(cos_THK, sin_THK)
        return _swapped(x_BTHK).mul_(sin_THK).addcmul_(x_BTHK, cos_THK)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTHK: Tensor) -> tuple[Tensor, None, None]:
        cos_THK, sin_THK = ctx.saved_tensors
        return _swapped(grad_BTHK).mul_(-sin_THK).addcmul_(grad_BTHK, cos_THK), None, None


def _swapped(x: Tensor) -> Tensor:
    return x.roll(x.shape[-1] // 2, dims=-1)
