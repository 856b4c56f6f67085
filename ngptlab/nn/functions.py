"""The equations of all methods, plainly: each function computes this, whichever form of it is used.

`@fastest` puts a fast form in a function's place where there is one (`nn.forms` has the table). Axes in names: B batch, T time,
D d_model, H heads, K d_head, F d_ff, V vocabulary, N tokens of all sequences, S positions read so far.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ngptlab.nn.forms import fastest
from ngptlab.nn.loss import LogitsMap
from ngptlab.nn.precision import NORM_FLOOR, wide
from ngptlab.nn.rope import Rope

# --- norms over the last axis, computed in float32 at least and returned in the dtype given ---------------------------


def unit_norm(x: Tensor) -> Tensor:
    """x / ||x|| over the last axis, without gain (arXiv:2410.01131, section 2)."""
    return normed(x, 1.0, NORM_FLOOR**2)


def rms_norm(x: Tensor) -> Tensor:
    """x / rms(x) over the last axis, without gain (arXiv:1910.07467); epsilon is the machine epsilon of the dtype used."""
    width = x.shape[-1]
    return normed(x, width**0.5, width * torch.finfo(torch.promote_types(x.dtype, torch.float32)).eps)


@fastest
def normed(x: Tensor, size: float, floor: float) -> Tensor:
    """size x / sqrt(||x||^2 + floor) over the last axis."""
    x_wide = wide(x)
    factor: Tensor = size * torch.rsqrt(x_wide.square().sum(-1, keepdim=True) + floor)
    return (x_wide * factor).to(x.dtype)


# --- the residual stream ----------------------------------------------------------------------------------------------


@fastest
def sphere_step(h_BTD: Tensor, branch_BTD: Tensor, rate_D: Tensor) -> Tensor:
    """Norm(h + rate (Norm(branch) - h)) (arXiv:2410.01131, equations 10, 11), in the dtype of `h`.

    Computed in float32 at least. The three may differ in dtype, as they do under autocast.
    """
    dtype = torch.promote_types(h_BTD.dtype, torch.float32)
    # lerp takes three tensors of one dtype only.
    target_BTD = unit_norm(branch_BTD.to(dtype))
    return unit_norm(torch.lerp(h_BTD.to(dtype), target_BTD, rate_D.to(dtype))).to(h_BTD.dtype)


# --- products and factors ---------------------------------------------------------------------------------------------


@fastest
def linear(x: Tensor, weight: Tensor) -> Tensor:
    """x W^T in the dtype of x; the master weight keeps its own dtype."""
    return F.linear(x, weight.to(x.dtype))


@fastest
def gain(x: Tensor, factor: Tensor) -> Tensor:
    """x * factor in the dtype of `x`; `factor` has the shape of the last axes of `x`."""
    return (x * factor).to(x.dtype)


@fastest
def swiglu(u_BTF: Tensor, v_BTF: Tensor) -> Tensor:
    """u * SiLU(v), with SiLU(v) = v sigmoid(v) (arXiv:2002.05202)."""
    return u_BTF * F.silu(v_BTF)


# --- queries, keys and attention --------------------------------------------------------------------------------------


@fastest
def rotate(x_BTHK: Tensor, rope: Rope) -> Tensor:
    """Turn each pair of channels, j and j + K/2, by its position's angle (arXiv:2104.09864); keeps every norm."""
    cos_THK, sin_THK = rope
    x_wide = wide(x_BTHK)
    swapped = x_wide.roll(x_wide.shape[-1] // 2, dims=-1)
    return (x_wide * cos_THK + swapped * sin_THK).to(x_BTHK.dtype)


@fastest
def scaled_units(q_BTHK: Tensor, k_BTHK: Tensor, rope: Rope, s_HK: Tensor) -> tuple[Tensor, Tensor]:
    """s_qk Norm(turned x) of queries and keys (arXiv:2410.01131, equations 15, 16), in their dtype."""
    # A turn keeps norms, so they may be taken before it, which leaves the compiler less to store for the backward.
    return gain(rotate(unit_norm(q_BTHK), rope), s_HK), gain(rotate(unit_norm(k_BTHK), rope), s_HK)


@fastest
def causal_attention(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float) -> Tensor:
    """softmax(scale q k^T) v in each head over keys that are not later, [B, T, H, K] (arXiv:1706.03762)."""
    q_BHTK, k_BHTK, v_BHTK = (x_BTHK.transpose(1, 2) for x_BTHK in (q_BTHK, k_BTHK, v_BTHK))
    o_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, is_causal=True, scale=scale)
    return o_BHTK.transpose(1, 2)


def heads_for(q_BTHK: Tensor, x_BTHK: Tensor) -> Tensor:
    """Keys or values of groups of heads, repeated for each query head (arXiv:2305.13245); `x` itself if it has as many."""
    groups = x_BTHK.shape[2]
    return x_BTHK if groups == q_BTHK.shape[2] else x_BTHK.repeat_interleave(q_BTHK.shape[2] // groups, dim=2)


@fastest
def attention_to_past(
    q_BTHK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, scale: float, window: int | None = None
) -> Tensor:
    """Causal attention of queries that stand at the last T of S positions, [B, T, H, K].

    With a window, each query attends to so many positions, its own the last of them. Keys may have fewer heads.
    """
    T, S = q_BTHK.shape[1], k_BHSK.shape[2]
    attends_TS = None
    if T > 1 or (window is not None and window < S):
        attends_TS = torch.ones(T, S, dtype=torch.bool, device=q_BTHK.device).tril_(S - T)
        if window is not None:
            attends_TS.triu_(S - T - window + 1)
    q_BHTK, grouped = q_BTHK.transpose(1, 2), k_BHSK.shape[1] != q_BTHK.shape[2]
    o_BHTK = F.scaled_dot_product_attention(
        q_BHTK, k_BHSK, v_BHSK, attn_mask=attends_TS, scale=scale, enable_gqa=grouped
    )
    return o_BHTK.transpose(1, 2)


# --- the loss ---------------------------------------------------------------------------------------------------------


@fastest
def mean_loss(h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor, logits_map: LogitsMap) -> Tensor:
    """Mean of -log softmax(map(rows h))[target] over all positions, in nats: a scalar with a gradient.

    Shapes: h_ND hidden states, rows_VD the head's matrix in the same dtype, targets_N integers.
    """
    return F.cross_entropy(logits_map(wide(h_ND @ rows_VD.T)), targets_N)
