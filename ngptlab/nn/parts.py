"""Parts that fill the decoder's seams: small frozen records with `build(dims)`, and the modules they build.

A record prints, compares and hashes; a lambda cannot. A part that one method alone uses lives in that method's file.
Equation numbers are those of arXiv:2410.01131.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.functions import rms_norm, rotate, scaled_units, sphere_step, swiglu
from ngptlab.nn.precision import NORM_FLOOR, wide
from ngptlab.nn.roles import along_d_model
from ngptlab.nn.rope import Rope, for_heads


class Part(Protocol):
    """What a seam holds. `build` gives what the decoder calls there."""

    def build(self, dims: Dims) -> Any: ...


class PartByLayer(Protocol):
    """What a seam holds where it differs from block to block.

    Blocks count from 0. The norm before the head is built as if it stood in one more block.
    """

    def build_at(self, dims: Dims, layer: int) -> Any: ...


BlockPart = Part | PartByLayer


def built(part: BlockPart, dims: Dims, layer: int) -> Any:
    """What a part builds for the block number `layer`."""
    by_layer = getattr(part, "build_at", None)
    return by_layer(dims, layer) if by_layer else part.build(dims)  # type: ignore[union-attr]


class Scale(nn.Module):
    """A trained vector with a speed of its own (section 2.5).

    The parameter starts at `scale`, its effective value is stored * init / scale. Hence `init` is the effective value
    at first, and a step of Adam moves it by lr * init / scale. With `init` 0 the parameter starts at 0 and the effective
    value is stored / scale, because a factor of 0 would leave it without a gradient.

    Args:
        spread: std of a normal draw that is added to the effective value at first.
    """

    def __init__(self, *shape: int, init: float, scale: float, spread: float = 0.0) -> None:
        super().__init__()
        self.init, self.scale, self.spread = init, scale, spread
        self.stored = nn.Parameter(torch.empty(shape))

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None = None) -> None:
        """Give the parameter its initial value. `generator` is for the draw that `spread` asks for."""
        nn.init.constant_(self.stored, self.scale if self.init else 0.0)
        if self.spread:
            draw = torch.randn(self.stored.shape, generator=generator).to(self.stored.device)
            self.stored.add_(draw, alpha=self.spread / self.speed)

    @property
    def speed(self) -> float:
        """Ratio of effective to stored values."""
        return (self.init or 1.0) / self.scale

    def effective(self) -> Tensor:
        """The values that forward passes use, in float32 at least: in bfloat16 they would be rounded once more."""
        return wide(self.stored) * self.speed


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
    for weight, axis in along_d_model(model):
        # Norms are in float32 at least, because rounded to bfloat16 they would scale each row by up to 1 +- 2^-9.
        dtype = torch.promote_types(weight.dtype, torch.float32)
        norms = torch.linalg.vector_norm(weight, dim=axis, keepdim=True, dtype=dtype)
        weight.div_(norms.clamp_min_(NORM_FLOOR))


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
        return sphere_step(h_BTD, branch_BTD, self.alpha.effective().abs())


# --- attn_scale: what attention scores are multiplied by --------------------------------------------------------------


@dataclass(frozen=True)
class HeadWidthPower:
    """d_head ** exponent."""

    exponent: float

    def build(self, dims: Dims) -> float:
        return float(dims.d_head**self.exponent)


# --- qk: from projections to the queries and keys of attention --------------------------------------------------------


@dataclass(frozen=True)
class Rotate:
    """RoPE alone."""

    def build(self, dims: Dims) -> nn.Module:
        return _Rotate()


class _Rotate(nn.Module):
    def forward(self, q_BTHK: Tensor, k_BTHK: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        return rotate(q_BTHK, rope), rotate(k_BTHK, for_heads(rope, k_BTHK))


@dataclass(frozen=True)
class NormRotate:
    """RMS norm in each head without gain, then RoPE."""

    def build(self, dims: Dims) -> nn.Module:
        return _NormRotate()


class _NormRotate(nn.Module):
    def forward(self, q_BTHK: Tensor, k_BTHK: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        return rotate(rms_norm(q_BTHK), rope), rotate(rms_norm(k_BTHK), for_heads(rope, k_BTHK))


@dataclass(frozen=True)
class RotateNormScale:
    """RoPE, then unit norm in each head, then s_qk, one vector for each head (equations 15, 16).

    In this order scores are no pure function of the distance once s_qk differs within a rotated pair.
    """

    s_qk_init: float = 1.0

    def build(self, dims: Dims) -> nn.Module:
        return _RotateNormScale(dims, self.s_qk_init)


class _RotateNormScale(nn.Module):
    def __init__(self, dims: Dims, s_qk_init: float) -> None:
        super().__init__()
        self.s_qk = Scale(dims.num_heads, dims.d_head, init=s_qk_init, scale=dims.d_model**-0.5)

    def forward(self, q_BTHK: Tensor, k_BTHK: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        return scaled_units(q_BTHK, k_BTHK, rope, self.s_qk.effective())


# --- gate: from the two projections of the MLP to its hidden state ----------------------------------------------------


class Gate(nn.Module):
    """What the seam `gate` builds. `forward(u, v)` gives the hidden state, [B, T, F] each.

    A factor on u or v belongs into the rows of the matrix before it: the same function, at the price of one pass over
    the weights instead of one over every token.
    """

    channelwise = False
    """Whether channel f of the result depends on channel f of u and v alone, by the same formula for all channels.
    Then channels may be added, with zeros in the matrices before and after the gate."""

    def rows(self, W_u: Tensor, W_v: Tensor) -> tuple[Tensor, Tensor]:
        """The matrices [F, D] that multiply the hidden state; as they are, unless the gate scales them."""
        return W_u, W_v


class FoldedGate(Gate):
    """A gate whose factors on rows are already multiplied into the matrices."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, u_BTF: Tensor, v_BTF: Tensor) -> Tensor:
        return self.gate(u_BTF, v_BTF)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class SwiGLU:
    """u * SiLU(v) (arXiv:2002.05202)."""

    def build(self, dims: Dims) -> Gate:
        return _SwiGLU()


class _SwiGLU(Gate):
    channelwise = True

    def forward(self, u_BTF: Tensor, v_BTF: Tensor) -> Tensor:
        return swiglu(u_BTF, v_BTF)


@dataclass(frozen=True)
class ScaledSwiGLU:
    """(s_u u) * SiLU(s_v sqrt(d_model) v) (equations 20, 21); sqrt(d_model) brings v to unit variance."""

    def build(self, dims: Dims) -> Gate:
        return _ScaledSwiGLU(dims)


class _ScaledSwiGLU(_SwiGLU):
    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.s_u = Scale(dims.d_ff, init=1.0, scale=1.0)
        self.s_v = Scale(dims.d_ff, init=1.0, scale=1.0)
        self.v_gain = dims.d_model**0.5

    def rows(self, W_u: Tensor, W_v: Tensor) -> tuple[Tensor, Tensor]:
        s_u_F1, s_v_F1 = self.s_u.effective().unsqueeze(1), self.s_v.effective().unsqueeze(1)
        return W_u * s_u_F1, W_v * (s_v_F1 * self.v_gain)


# --- logits: from E_out h to the softmax's input ----------------------------------------------------------------------


class Logits(nn.Module):
    """What the seam `logits` builds.

    `rows` scales tokens' rows of E_out, at the price of one pass over the weights. `forward` is for maps that are no scaling
    of rows, such as a soft cap; the loss then holds all logits at once instead of a few rows at a time.
    """

    def rows(self, E_out: Tensor) -> Tensor:
        """The matrix [V, D] that multiplies the hidden state; as it is, unless the part scales it."""
        return E_out

    def forward(self, z: Tensor) -> Tensor:
        return z

    @property
    def scales_rows(self) -> bool:
        """Whether the part scales rows and does nothing else."""
        return type(self).forward is Logits.forward


@dataclass(frozen=True)
class PlainLogits:
    """z as it is (equation 1)."""

    def build(self, dims: Dims) -> Logits:
        return Logits()


@dataclass(frozen=True)
class SoftCap:
    """cap tanh(z / cap): logits stay below `cap` (arXiv:2408.00118)."""

    cap: float = 15.0

    def build(self, dims: Dims) -> Logits:
        return _SoftCap(self.cap)


class _SoftCap(Logits):
    def __init__(self, cap: float) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, z: Tensor) -> Tensor:
        return self.cap * torch.tanh(z / self.cap)


@dataclass(frozen=True)
class ScaledLogits:
    """s_z z, with one trained factor for each token (equation 3), stored at scale d_model ** width_power."""

    width_power: float = -0.5

    def build(self, dims: Dims) -> Logits:
        return _ScaledLogits(dims, dims.d_model**self.width_power)


class _ScaledLogits(Logits):
    def __init__(self, dims: Dims, scale: float) -> None:
        super().__init__()
        self.s_z = Scale(dims.vocab_size, init=1.0, scale=scale)

    def rows(self, E_out: Tensor) -> Tensor:
        return E_out * self.s_z.effective().unsqueeze(1)
