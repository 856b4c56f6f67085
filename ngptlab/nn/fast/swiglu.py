"""The gate u * SiLU(v) of a gated MLP."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ngptlab.nn.fast.call import call


def swiglu_by_hand(u_BTF: Tensor, v_BTF: Tensor) -> Tensor:
    """u * SiLU(v); the backward computes SiLU(v) again."""
    return call(_SwiGLU, u_BTF, v_BTF)


class _SwiGLU(Function):
    """Keeps u and v alone and computes SiLU(v) again: the widest activation of the model is stored once less."""

    @staticmethod
    def forward(ctx: Any, u_BTF: Tensor, v_BTF: Tensor) -> Tensor:
        ctx.save_for_backward(u_BTF, v_BTF)
        return F.silu(v_BTF).mul_(u_BTF)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTF: Tensor) -> tuple[Tensor, Tensor]:
        u_BTF, v_BTF = ctx.saved_tensors
        du_BTF = F.silu(v_BTF).mul_(grad_BTF)
        dv_BTF = torch.ops.aten.silu_backward(grad_BTF * u_BTF, v_BTF)
        return du_BTF, dv_BTF
