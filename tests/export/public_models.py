"""Forward passes of the public implementations of nGPT, written out in our own words, and state dicts for them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

V, L, H, D = 31, 3, 2, 16
K = D // H
TOKENS = torch.arange(2 * 12).view(2, 12) * 7 % V

State = dict[str, Tensor]


def draw(shapes: dict[str, tuple[int, ...]]) -> State:
    """Matrices of std 0.3, and vectors around 0.3, no two entries alike: their place matters."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: 0.3 * torch.randn(shape, generator=generator)
        if len(shape) == 2
        else 0.3 * torch.exp(0.5 * torch.randn(shape, generator=generator))
        for name, shape in shapes.items()
    }


def turned(x_BTHK: Tensor, partners: str, sign: float) -> Tensor:
    """RoPE at base 10000 on pairs that are `neighbours` or `halves` of a head, by `sign` times the angle."""
    T = x_BTHK.shape[1]
    angle_TJ = torch.outer(torch.arange(T), 10000.0 ** (-torch.arange(0, K, 2) / K))[None, :, None]
    cos, sin = angle_TJ.cos(), sign * angle_TJ.sin()
    if partners == "halves":
        a, b = x_BTHK[..., : K // 2], x_BTHK[..., K // 2 :]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    a, b = x_BTHK[..., 0::2], x_BTHK[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)


def attend(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float) -> Tensor:
    scores = torch.einsum("bthk,bshk->bhts", q_BTHK, k_BTHK) * scale
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    weights = scores.masked_fill(later, -torch.inf).softmax(-1)
    return torch.einsum("bhts,bshk->bthk", weights, v_BTHK).flatten(2)


def heads(x_BTD: Tensor) -> Tensor:
    return x_BTD.unflatten(-1, (H, K))


def unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


# --- alxndrTL/modded-nanogpt --------------------------------------------------------------------------------------------


def replication_shapes(normalized: bool) -> dict[str, tuple[int, ...]]:
    F_ = int(8 / 3 * D)
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (V, D), "lm_head.weight": (V, D)}
    for n in range(L):
        block = f"transformer.h.{n}"
        shapes |= {f"{block}.attn.c_{m}.weight": (D, D) for m in ("q", "k", "v", "proj")}
        shapes |= {f"{block}.mlp.c_fc.weight": (F_, D), f"{block}.mlp.c_fc2.weight": (F_, D)}
        shapes[f"{block}.mlp.c_proj.weight"] = (D, F_)
        if normalized:
            shapes |= {f"{block}.attn.qk_scaler.scale": (K,), f"{block}.attn_scaler.scale": (D,)}
            shapes |= {f"{block}.mlp.{m}_scaler.scale": (F_,) for m in ("u", "v")}
            shapes[f"{block}.mlp_scaler.scale"] = (D,)
    return {**shapes, "logits_scaler.scale": (V,)} if normalized else shapes


def replication(state: State, normalized: bool, divisor: float = 1.0) -> Tensor:
    """Its forward pass, with RoPE's tables in float32. A scale's value is stored * init / scale."""
    root = math.sqrt(D)
    h = state["transformer.wte.weight"][TOKENS]
    for n in range(L):
        w = {name.removeprefix(f"transformer.h.{n}."): value for name, value in state.items()}
        x = h if normalized else F.rms_norm(h, (D,))
        q, k, v = (heads(x @ w[f"attn.c_{m}.weight"].T) for m in "qkv")
        if normalized:
            s_qk = w["attn.qk_scaler.scale"] * root
            q, k = s_qk * unit(q), s_qk * unit(k)
        q, k = turned(q, "halves", -1), turned(k, "halves", -1)
        o = attend(q, k, v, math.sqrt(K) if normalized else 1 / math.sqrt(K)) @ w["attn.c_proj.weight"].T
        h = unit(h + (w["attn_scaler.scale"] / L * root).abs() * (unit(o) - h)) if normalized else h + o
        x = h if normalized else F.rms_norm(h, (D,))
        a, b = x @ w["mlp.c_fc.weight"].T, x @ w["mlp.c_fc2.weight"].T
        if normalized:
            a, b = w["mlp.u_scaler.scale"] * a, root * w["mlp.v_scaler.scale"] * b
        o = (a * F.silu(b)) @ w["mlp.c_proj.weight"].T
        h = unit(h + (w["mlp_scaler.scale"] / L * root).abs() * (unit(o) - h)) if normalized else h + o
    h = (h if normalized else F.rms_norm(h, (D,))) / divisor
    z = h @ state["lm_head.weight"].T
    return state["logits_scaler.scale"] * root * z if normalized else z


# --- NVIDIA's -----------------------------------------------------------------------------------------------------------


def nvidia_shapes(normalized: bool) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (V, D), "lm_head.weight": (V, D)}
    for n in range(L):
        block = f"transformer.h.{n}"
        shapes |= {f"{block}.{m}.weight": (D, D) for m in ("key", "query", "value", "att_c_proj")}
        shapes |= {f"{block}.c_fc.weight": (8 * D, D), f"{block}.mlp_c_proj.weight": (D, 4 * D)}
        if normalized:
            shapes |= {f"{block}.{m}": (D,) for m in ("attn_alpha", "mlp_alpha", "sqk")}
            shapes[f"{block}.suv"] = (8 * D,)
        else:
            shapes |= {f"{block}.rmsnorm_{m}.weight": (D,) for m in ("att", "mlp")}
    return {**shapes, "sz": (V,)} if normalized else {**shapes, "rmsnorm_f.weight": (D,)}


def no_rotation(x_BTHK: Tensor) -> Tensor:
    """The public code's RoPE: the table's columns alternate between sine and cosine, and are then cut in the middle."""
    T = x_BTHK.shape[1]
    angle_TJ = torch.outer(torch.arange(T), 10000.0 ** (-torch.arange(0, K, 2) / K))
    table_TK = torch.stack((angle_TJ.sin(), angle_TJ.cos()), dim=-1).flatten(1)
    first, second = table_TK[None, :, None, : K // 2], table_TK[None, :, None, K // 2 :]
    return torch.stack((-x_BTHK[..., 1::2] * second, x_BTHK[..., 0::2] * first), dim=-1).flatten(-2)


def nvidia(
    state: State, normalized: bool, rope: Callable[[Tensor], Tensor], base_scale: float = 1 / math.sqrt(D)
) -> Tensor:
    """Its forward pass in float32, with a RoPE of the caller's. `base_scale` is train.py's by default."""
    root = math.sqrt(D)

    def norm(x: Tensor, gain: Tensor | None) -> Tensor:
        # The public code's epsilon is 1e-6, ours the smallest of float32; hidden states here are of size 1.
        return x if gain is None else x * (x.square().mean(-1, keepdim=True) + 1.2e-7).rsqrt() * gain

    h = state["transformer.wte.weight"][TOKENS]
    for n in range(L):
        w = {name.removeprefix(f"transformer.h.{n}."): value for name, value in state.items()}
        x = norm(h, w.get("rmsnorm_att.weight"))
        q, k, v = (heads(x @ w[f"{m}.weight"].T) for m in ("query", "key", "value"))
        q, k = rope(q), rope(k)
        if normalized:
            s_qk = (w["sqk"] * (1.0 / base_scale)).view(H, K)
            q, k = s_qk * unit(q), s_qk * unit(k)
        o = attend(q, k, v, math.sqrt(K) if normalized else 1 / math.sqrt(K)) @ w["att_c_proj.weight"].T
        h = (
            unit(unit(h) + (w["attn_alpha"] * (0.05 / base_scale)).abs() * (unit(o) - unit(h)))
            if normalized
            else h + o
        )
        uv = norm(h, w.get("rmsnorm_mlp.weight")) @ w["c_fc.weight"].T
        a, b = (w["suv"] * root * uv if normalized else uv).chunk(2, dim=-1)
        o = (a * F.silu(b)) @ w["mlp_c_proj.weight"].T
        h = (
            unit(unit(h) + (w["mlp_alpha"] * (0.05 / base_scale)).abs() * (unit(o) - unit(h)))
            if normalized
            else h + o
        )
    z = norm(h, state.get("rmsnorm_f.weight")) @ state["lm_head.weight"].T
    return state["sz"] * (1.0 / base_scale) * z if normalized else z


def unit_rows(state: State) -> State:
    """Embeddings as a normalized model keeps them: its first hidden state is of unit length."""
    return {**state, "transformer.wte.weight": unit(state["transformer.wte.weight"])}
