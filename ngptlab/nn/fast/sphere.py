"""nGPT's residual: a step on the unit sphere from the hidden state towards a branch's output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, library
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ngptlab.nn.fast.call import call, has_kernel
from ngptlab.nn.fast.gain import column_dot
from ngptlab.nn.fast.norms import lengths, normed_backward
from ngptlab.nn.operators import operator
from ngptlab.nn.precision import NORM_FLOOR


def sphere_step_by_hand(h_BTD: Tensor, branch_BTD: Tensor, rate_D: Tensor) -> Tensor:
    """The step in few passes, in the dtype of `h`."""
    return call(_SphereStep, h_BTD, branch_BTD, rate_D.to(h_BTD.dtype))


def sphere_step_kernel(h_BTD: Tensor, branch_BTD: Tensor, rate_D: Tensor) -> Tensor | None:
    """The step in one pass forward and one backward; None where there is no kernel, or no rate for each channel."""
    if not has_kernel(h_BTD) or rate_D.shape != h_BTD.shape[-1:]:
        return None
    rate_D = rate_D.to(torch.promote_types(h_BTD.dtype, torch.float32))
    return _in_a_kernel(h_BTD, branch_BTD, rate_D)  # type: ignore[no-any-return]


class _SphereStep(Function):
    """Saves the target and the result, both of unit length, and the reciprocals of the two lengths.

    With t = lerp(h, u, rate), u = branch / |branch|, y = t / |t|, and P_y the projection off y:
    dt = P_y dy / |t|, dh = (1 - rate) dt, drate = sum over tokens of dt (u - h), dbranch = P_u (rate dt) / |branch|.
    """

    @staticmethod
    def forward(ctx: Any, h_BTD: Tensor, branch_BTD: Tensor, rate_D: Tensor) -> Tensor:
        per_branch_BT1 = lengths(branch_BTD).reciprocal_()
        u_BTD = branch_BTD * per_branch_BT1
        y_BTD = torch.lerp(h_BTD, u_BTD, rate_D)
        per_step_BT1 = lengths(y_BTD).reciprocal_()
        y_BTD.mul_(per_step_BT1)
        ctx.save_for_backward(h_BTD, u_BTD, y_BTD, rate_D, per_branch_BT1, per_step_BT1)
        return y_BTD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h_BTD, u_BTD, y_BTD, rate_D, per_branch_BT1, per_step_BT1 = ctx.saved_tensors
        one_BT1 = torch.ones_like(per_step_BT1)
        dt_BTD = normed_backward(dy_BTD, y_BTD, per_step_BT1, one_BT1)
        drate_D = column_dot(dt_BTD, u_BTD) - column_dot(dt_BTD, h_BTD)
        dbranch_BTD = normed_backward(dt_BTD * rate_D, u_BTD, per_branch_BT1, one_BT1)
        return dt_BTD.mul_(1 - rate_D), dbranch_BTD, drate_D


@library.custom_op(operator(__name__, "sphere_step"), mutates_args=())
def _in_a_kernel(h_BTD: Tensor, branch_BTD: Tensor, rate_D: Tensor) -> Tensor:
    """One pass over each tensor. The compiler would need several for the backward."""
    from ngptlab.nn.fast.kernels.sphere import sphere_step as kernel

    h_ND, branch_ND = _rows(h_BTD), _rows(branch_BTD)
    return kernel(h_ND, branch_ND, rate_D.contiguous(), NORM_FLOOR**2).view(h_BTD.shape)


@library.custom_op(operator(__name__, "sphere_step_backward"), mutates_args=())
def _in_a_kernel_backward(
    dy_BTD: Tensor, h_BTD: Tensor, branch_BTD: Tensor, rate_D: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    from ngptlab.nn.fast.kernels.sphere import sphere_step_backward as kernel

    dy_ND, h_ND, branch_ND = _rows(dy_BTD), _rows(h_BTD), _rows(branch_BTD)
    dh_ND, dbranch_ND, drate_D = kernel(dy_ND, h_ND, branch_ND, rate_D.contiguous(), NORM_FLOOR**2)
    return dh_ND.view(h_BTD.shape), dbranch_ND.view(h_BTD.shape), drate_D


@_in_a_kernel.register_fake
def _(h_BTD: Tensor, branch_BTD: Tensor, rate_D: Tensor) -> Tensor:
    return h_BTD.new_empty(h_BTD.shape)


@_in_a_kernel_backward.register_fake
def _(dy_BTD: Tensor, h_BTD: Tensor, branch_BTD: Tensor, rate_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return h_BTD.new_empty(h_BTD.shape), branch_BTD.new_empty(h_BTD.shape), rate_D.new_empty(rate_D.shape)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, dy_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _in_a_kernel_backward(dy_BTD, *ctx.saved_tensors)  # type: ignore[no-any-return]


_in_a_kernel.register_autograd(_backward, setup_context=_save)


def _rows(x_BTD: Tensor) -> Tensor:
    return x_BTD.contiguous().flatten(0, -2)
