"""Parts that fill the decoder's seams: small frozen records with `build(dims)`, and the modules they build.

A record prints, compares and hashes; a lambda cannot. A part that one method alone uses lives in that method's file.
Equation numbers are those of arXiv:2410.01131.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.norms import rms_norm, unit_norm, wide
from ngptlab.nn.roles import d_model_axis
from ngptlab.nn.rope import Rope, rotate


class Part(Protocol):
    """What a seam holds. `build` gives what the decoder calls there."""

    def build(self, dims: Dims) -> Any: ...


class Scale(nn.Module):
    """A trained vector with a speed of its own (section 2.5).

    The parameter starts at `scale`, its effective value is stored * init / scale. Hence `init` is the effective value
    at first, and a step of Adam moves it by lr * init / scale.
    """

    def __init__(self, *shape: int, init: float, scale: float) -> None:
        super().__init__()
        self.init, self.scale = init, scale
        self.stored = nn.Parameter(torch.empty(shape))

    def reset(self) -> None:
        """Give the parameter its initial value."""
        nn.init.constant_(self.stored, self.scale)

    def effective(self) -> Tensor:
        """The values that forward passes use."""
        return self.stored * (self.init / self.scale)


# --- norm: before each branch and before the head ---------------------------------------------------------------------


@dataclass(frozen=True)
class NoNorm:
    """The hidden state as it is."""

    def build(self, dims: Dims) -> nn.Module:
        return nn.Identity()


@dataclass(frozen=True)
class RMSNorm:
    """h / rms(h), without gain (equations 4, 5)."""

    def build(self, dims: Dims) -> nn.Module:
        return _RMSNorm()


class _RMSNorm(nn.Module):
    def forward(self, h_BTD: Tensor) -> Tensor:
        return rms_norm(h_BTD)


# --- after_step: what holds for the weights after construction and after every step -----------------------------------


@dataclass(frozen=True)
class FreeWeights:
    """No constraint."""

    def build(self, dims: Dims) -> Callable[[nn.Module], None]:
        return _free_weights


def _free_weights(model: nn.Module) -> None:
    pass


@dataclass(frozen=True)
class UnitWeights:
    """Every matrix back to unit norm along its d_model axis (section 2.6, step 2)."""

    def build(self, dims: Dims) -> Callable[[nn.Module], None]:
        return _unit_weights


@torch.no_grad()
def _unit_weights(model: nn.Module) -> None:
    for name, weight in model.named_parameters():
        axis = d_model_axis(name)
        if axis is not None:
            weight.copy_(unit_norm(weight.mT).mT if axis == 0 else unit_norm(weight))


# --- residual: how a branch's output enters the stream ----------------------------------------------------------------


@dataclass(frozen=True)
class Add:
    """h + branch (equations 4, 5)."""

    def build(self, dims: Dims) -> nn.Module:
        return _Add()


class _Add(nn.Module):
    def forward(self, h_BTD: Tensor, branch_BTD: Tensor) -> Tensor:
        return h_BTD + branch_BTD


@dataclass(frozen=True)
class SphereStep:
    """Norm(h + |alpha| (Norm(branch) - h)) with a trained rate for each channel (equations 10, 11).

    alpha starts at alpha_init * num_layers ** depth_power and is stored at scale 1/sqrt(d_model).
    """

    alpha_init: float = 0.05
    depth_power: float = 0.0

    def build(self, dims: Dims) -> nn.Module:
        return _SphereStep(dims, self.alpha_init * dims.num_layers**self.depth_power)


class _SphereStep(nn.Module):
    def __init__(self, dims: Dims, alpha_init: float) -> None:
        super().__init__()
        self.alpha = Scale(dims.d_model, init=alpha_init, scale=dims.d_model**-0.5)

    def forward(self, h_BTD: Tensor, branch_BTD: Tensor) -> Tensor:
        h, target = wide(h_BTD), unit_norm(wide(branch_BTD))
        return unit_norm(torch.lerp(h, target, self.alpha.effective().abs())).to(h_BTD.dtype)


# --- attn_scale: what attention scores are multiplied by --------------------------------------------------------------


@dataclass(frozen=True)
class HeadWidthPower:
    """d_head ** exponent."""

    exponent: float

    def build(self, dims: Dims) -> float:
        return float(dims.d_head**self.exponent)


# --- qk: from projections to the queries and keys that meet -----------------------------------------------------------


@dataclass(frozen=True)
class Rotate:
    """RoPE alone."""

    def build(self, dims: Dims) -> nn.Module:
        return _Rotate()


class _Rotate(nn.Module):
    def forward(self, q_BHTK: Tensor, k_BHTK: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        return rotate(q_BHTK, rope), rotate(k_BHTK, rope)


@dataclass(frozen=True)
class RotateNormScale:
    """RoPE, then unit norm in each head, then s_qk, one vector a head (equations 15, 16).

    In this order scores are no pure function of the distance once s_qk differs within a rotated pair.
    """

    def build(self, dims: Dims) -> nn.Module:
        return _RotateNormScale(dims)


class _RotateNormScale(nn.Module):
    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.s_qk = Scale(dims.num_heads, dims.d_head, init=1.0, scale=dims.d_model**-0.5)

    def forward(self, q_BHTK: Tensor, k_BHTK: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        s_H1K = self.s_qk.effective().unsqueeze(1)
        q, k = unit_norm(rotate(q_BHTK, rope)), unit_norm(rotate(k_BHTK, rope))
        return (q * s_H1K).to(q_BHTK.dtype), (k * s_H1K).to(k_BHTK.dtype)


# --- gate: from the two projections of the MLP to its hidden state ----------------------------------------------------


@dataclass(frozen=True)
class SwiGLU:
    """u * SiLU(v) (arXiv:2002.05202)."""

    def build(self, dims: Dims) -> nn.Module:
        return _SwiGLU()


class _SwiGLU(nn.Module):
    def forward(self, u_BTF: Tensor, v_BTF: Tensor) -> Tensor:
        return u_BTF * F.silu(v_BTF)


@dataclass(frozen=True)
class ScaledSwiGLU:
    """(s_u u) * SiLU(s_v sqrt(d_model) v) (equations 20, 21); sqrt(d_model) brings v to unit variance."""

    def build(self, dims: Dims) -> nn.Module:
        return _ScaledSwiGLU(dims)


class _ScaledSwiGLU(nn.Module):
    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.s_u = Scale(dims.d_ff, init=1.0, scale=1.0)
        self.s_v = Scale(dims.d_ff, init=1.0, scale=1.0)
        self.v_gain = dims.d_model**0.5

    def forward(self, u_BTF: Tensor, v_BTF: Tensor) -> Tensor:
        s_u_F, s_v_F = (
            self.s_u.effective().to(u_BTF.dtype),
            (self.s_v.effective() * self.v_gain).to(v_BTF.dtype),
        )
        return (u_BTF * s_u_F) * F.silu(v_BTF * s_v_F)


# --- logits: from E_out h to what the softmax gets --------------------------------------------------------------------


@dataclass(frozen=True)
class PlainLogits:
    """z as it is (equation 1)."""

    def build(self, dims: Dims) -> nn.Module:
        return nn.Identity()


@dataclass(frozen=True)
class ScaledLogits:
    """s_z z, one trained factor a token of the vocabulary (equation 3)."""

    def build(self, dims: Dims) -> nn.Module:
        return _ScaledLogits(dims)


class _ScaledLogits(nn.Module):
    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.s_z = Scale(dims.vocab_size, init=1.0, scale=dims.d_model**-0.5)

    def forward(self, z_BTV: Tensor) -> Tensor:
        return z_BTV * self.s_z.effective()
