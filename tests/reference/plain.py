"""The plain decoder written out, with a hook in each place where a method may differ from it.

As in `paper.py`, nothing here comes from `ngptlab.nn` or `ngptlab.methods`, and positions, heads and layers are Python
loops. `variants.py` has what stands in the hooks.

A name ending in `_T` is a list of positions, one ending in `_H` a list of heads. Positions before the text count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import paper
import torch
from paper import RMS_EPS, Weights, cross_entropy, over_batch, silu, softmax
from torch import Tensor

from ngptlab.config import Dims


def norm(x: Tensor) -> Tensor:
    """RMSNorm without gain."""
    return paper.rms(x, RMS_EPS)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + torch.exp(-x))


def gelu(x: Tensor) -> Tensor:
    """x times the normal distribution's integral up to x."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


@dataclass
class Pass:
    """One sequence on its way through a model."""

    equations: Equations
    weights: Weights
    dims: Dims
    tokens: list[int]
    noted: dict[str, Any] = field(default_factory=dict)
    """What a later block reads of an earlier one."""

    def stored(self, name: str) -> Tensor:
        return self.weights[f"{name}.stored"]


def rows_of_tokens(p: Pass) -> list[Tensor]:
    return [p.weights["E_in"][token] for token in p.tokens]


def one_after_another(p: Pass, h_T: list[Tensor]) -> list[Tensor]:
    for layer in range(p.dims.num_layers):
        h_T = p.equations.block(p, layer, h_T)
    return h_T


def rms_norm(p: Pass, place: str, h: Tensor) -> Tensor:
    return norm(h)


def add(p: Pass, place: str, h: Tensor, branch: Tensor) -> Tensor:
    return h + branch


def attention_then_mlp(p: Pass, layer: int, h_T: list[Tensor]) -> list[Tensor]:
    eq, block = p.equations, f"blocks.{layer}"
    a_T = eq.attention(p, layer, [eq.norm(p, f"{block}.attn_norm", h) for h in h_T])
    h_T = [eq.join(p, f"{block}.attn_residual", h, a) for h, a in zip(h_T, a_T, strict=True)]
    m_T = [eq.mlp(p, layer, eq.norm(p, f"{block}.mlp_norm", h)) for h in h_T]
    return [eq.join(p, f"{block}.mlp_residual", h, m) for h, m in zip(h_T, m_T, strict=True)]


def product(p: Pass, layer: int, letter: str, x: Tensor) -> Tensor:
    return p.weights[f"blocks.{layer}.attn.W_{letter}"] @ x


def heads(p: Pass, x: Tensor) -> list[Tensor]:
    """x cut into pieces of d_head."""
    K = p.dims.d_model // p.dims.num_heads
    return [x[n * K : (n + 1) * K] for n in range(len(x) // K)]


def by_head(p: Pass, layer: int, letter: str, x_T: list[Tensor]) -> list[list[Tensor]]:
    """Projections, first by head and then by position."""
    pieces_T = [heads(p, p.equations.project(p, layer, letter, x)) for x in x_T]
    return [list(pieces) for pieces in zip(*pieces_T, strict=True)]


def turned(p: Pass, layer: int, head: int, x_K: Tensor, position: int) -> Tensor:
    return paper.rope(x_K, position)


def all_before(layer: int, t: int) -> int:
    """The first position that position t attends to."""
    return 0


def mix(q_K: Tensor, k_T: list[Tensor], v_T: list[Tensor], scale: float) -> Tensor:
    """softmax(scale q k) v over the keys given."""
    p_T = softmax(torch.stack([scale * (q_K * k_K).sum() for k_K in k_T]))
    out = torch.zeros_like(v_T[0])
    for s, v in enumerate(v_T):
        out = out + p_T[s] * v
    return out


def own_values(p: Pass, layer: int, v_HT: list[list[Tensor]], x_T: list[Tensor]) -> list[list[Tensor]]:
    return v_HT


def as_mixed(p: Pass, layer: int, head: int, o_K: Tensor, v_K: Tensor, x: Tensor) -> Tensor:
    return o_K


def self_attention(p: Pass, layer: int, x_T: list[Tensor]) -> list[Tensor]:
    eq = p.equations
    q_HT, k_HT, v_HT = (by_head(p, layer, letter, x_T) for letter in "qkv")
    p.noted.setdefault("first values", v_HT)
    p.noted["values below"], p.noted["values here"] = p.noted.get("values here", v_HT), v_HT
    v_HT = eq.values(p, layer, v_HT, x_T)
    out_T: list[list[Tensor]] = [[] for _ in x_T]
    for head in range(p.dims.num_heads):
        source = eq.source(head, p.dims.num_heads)
        q_T = [eq.query_key(p, layer, head, q_K, t) for t, q_K in enumerate(q_HT[head])]
        k_T = [eq.query_key(p, layer, head, k_K, t) for t, k_K in enumerate(k_HT[source])]
        v_T = v_HT[source]
        for t, x in enumerate(x_T):
            met = slice(eq.first_met(layer, t), t + 1)
            o_K = mix(q_T[t], k_T[met], v_T[met], eq.score_scale(p.dims.d_model // p.dims.num_heads))
            out_T[t].append(eq.out(p, layer, head, o_K, v_T[t], x))
    return [eq.project(p, layer, "o", torch.cat(pieces)) for pieces in out_T]


def swiglu(p: Pass, layer: int, x: Tensor) -> Tensor:
    W_u, W_v, W_o = (p.weights[f"blocks.{layer}.mlp.{name}"] for name in ("W_u", "W_v", "W_o"))
    return W_o @ ((W_u @ x) * silu(W_v @ x))


@dataclass(frozen=True, kw_only=True)
class Equations:
    """The plain decoder: what a variant replaces, and what a test replaces by something wrong."""

    start: Callable[[Pass], list[Tensor]] = rows_of_tokens
    stream: Callable[[Pass, list[Tensor]], list[Tensor]] = one_after_another
    block: Callable[[Pass, int, list[Tensor]], list[Tensor]] = attention_then_mlp
    norm: Callable[[Pass, str, Tensor], Tensor] = rms_norm
    join: Callable[[Pass, str, Tensor, Tensor], Tensor] = add
    attention: Callable[[Pass, int, list[Tensor]], list[Tensor]] = self_attention
    project: Callable[[Pass, int, str, Tensor], Tensor] = product
    source: Callable[[int, int], int] = lambda head, heads: head  # whose keys and values a query head meets
    query_key: Callable[[Pass, int, int, Tensor, int], Tensor] = turned
    score_scale: Callable[[int], float] = lambda d_head: 1 / math.sqrt(d_head)
    first_met: Callable[[int, int], int] = all_before
    values: Callable[[Pass, int, list[list[Tensor]], list[Tensor]], list[list[Tensor]]] = own_values
    out: Callable[[Pass, int, int, Tensor, Tensor, Tensor], Tensor] = as_mixed
    mlp: Callable[[Pass, int, Tensor], Tensor] = swiglu
    head: Callable[[Pass], Tensor] = lambda p: p.weights["E_out"]
    logits: Callable[[Pass, Tensor], Tensor] = lambda p, z_V: z_V
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy  # of logits [B, T, V] and next tokens [B, T]


def logits(weights: Weights, tokens_BT: Tensor, dims: Dims, equations: Equations) -> Tensor:
    """Logits [B, T, V]."""

    def one_sequence(tokens: list[int]) -> list[Tensor]:
        p = Pass(equations, weights, dims, tokens)
        h_T = equations.stream(p, equations.start(p))[-len(tokens) :]
        return [equations.logits(p, equations.head(p) @ equations.norm(p, "norm", h)) for h in h_T]

    return over_batch(one_sequence, tokens_BT)


PLAIN = Equations()
