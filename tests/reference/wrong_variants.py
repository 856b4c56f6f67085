"""Equations that are wrong, as data: for each method those slips that a test must see.

A slip replaces one or more hooks of the method's own equations.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import paper
import torch
import variants
from plain import (
    PLAIN,
    Pass,
    as_mixed,
    gelu,
    heads,
    norm,
    rows_of_tokens,
    self_attention,
    sigmoid,
)
from torch import Tensor


def signed_step(p: Pass, place: str, h: Tensor, branch: Tensor) -> Tensor:
    a = paper.effective(p.stored(f"{place}.alpha"), 0.05, p.dims.d_model**-0.5)
    return ((1 - a) * h + a * branch) / torch.sqrt((1 - a) ** 2 + a**2)


def plain_step(p: Pass, place: str, h: Tensor, branch: Tensor) -> Tensor:
    a = torch.abs(paper.effective(p.stored(f"{place}.alpha"), 0.05, p.dims.d_model**-0.5))
    return (1 - a) * h + a * branch


def slope_outside(p: Pass, place: str, h: Tensor) -> Tensor:
    gamma, slope, beta = (p.stored(f"{place}.{name}") for name in ("gamma", "slope", "beta"))
    return gamma * slope * torch.tanh(h) + beta


def beta_inside(p: Pass, place: str, h: Tensor) -> Tensor:
    gamma, slope, beta = (p.stored(f"{place}.{name}") for name in ("gamma", "slope", "beta"))
    return gamma * torch.tanh(slope * h + beta)


def gated_after_W_o(p: Pass, layer: int, x_T: list[Tensor]) -> list[Tensor]:
    W_g = p.weights[f"blocks.{layer}.attn.out.W_g"]
    ungated = Pass(replace(p.equations, out=as_mixed), p.weights, p.dims, p.tokens)
    a_T = self_attention(ungated, layer, x_T)
    return [a * sigmoid(W_g @ x) for a, x in zip(a_T, x_T, strict=True)]


def gate_of_another_head(p: Pass, layer: int, head: int, o_K: Tensor, v_K: Tensor, x: Tensor) -> Tensor:
    return variants.gated(p, layer, (head + 1) % p.dims.num_heads, o_K, v_K, x)


def gate_of_pairs(p: Pass, layer: int, head: int, o_K: Tensor, v_K: Tensor, x: Tensor) -> Tensor:
    """The pair's halves one after the other, as if heads were twice as wide."""
    half = p.dims.num_heads // 2
    return variants.gated(p, layer, 2 * (head % half) + head // half, o_K, v_K, x)


def gate_without_sigmoid(p: Pass, layer: int, head: int, o_K: Tensor, v_K: Tensor, x: Tensor) -> Tensor:
    return o_K * heads(p, p.weights[f"blocks.{layer}.attn.out.W_g"] @ x)[head]


def with_own_value_twice(p: Pass, layer: int, head: int, o_K: Tensor, v_K: Tensor, x: Tensor) -> Tensor:
    return 2 * o_K - variants.without_own_value(p, layer, head, o_K, v_K, x)


def share_of_another_head(p: Pass, layer: int, head: int, o_K: Tensor, v_K: Tensor, x: Tensor) -> Tensor:
    return variants.without_own_value(p, layer, (head + 1) % p.dims.num_heads, o_K, v_K, x)


def one_position_back(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    back = paper.cross_entropy(logits_BTV[:, 1:], targets_BT[:, :-1])
    return (paper.cross_entropy(logits_BTV, targets_BT) + 0.5 * back) / 1.5


def mlp_reads_the_sum(p: Pass, layer: int, h_T: list[Tensor]) -> list[Tensor]:
    """The MLP after attention, from the norm before it: neither parallel nor one after the other."""
    x_T = [norm(h) for h in h_T]
    a_T = p.equations.attention(p, layer, x_T)
    return [h + a + p.equations.mlp(p, layer, x + a) for h, a, x in zip(h_T, a_T, x_T, strict=True)]


def relu_after_square(p: Pass, layer: int, x: Tensor) -> Tensor:
    u_F = p.weights[f"blocks.{layer}.mlp.W_u"] @ x
    return p.weights[f"blocks.{layer}.mlp.W_o"] @ (u_F**2)


def smeared_by_its_gate(p: Pass) -> list[Tensor]:
    """The gate reads the token before."""
    x_T = rows_of_tokens(p)
    gate_T = [sigmoid((p.stored("embed.gate") * x[:12]).sum()) for x in x_T]
    later_T = [x_T[t] + p.stored("embed.share") * gate_T[t - 1] * x_T[t - 1] for t in range(1, len(x_T))]
    return [x_T[0], *later_T]


def smeared_around(p: Pass) -> list[Tensor]:
    """Before the first token stands the last."""
    x_T = rows_of_tokens(p)
    gate_T = [sigmoid((p.stored("embed.gate") * x[:12]).sum()) for x in x_T]
    return [x + p.stored("embed.share") * gate_T[t] * x_T[t - 1] for t, x in enumerate(x_T)]


def weights_reversed(p: Pass, h_T: list[Tensor]) -> list[Tensor]:
    flipped = p.weights | {"stream.weights.stored": p.stored("stream.weights").flip(0)}
    return variants.skips(Pass(p.equations, flipped, p.dims, p.tokens), h_T)


def without_tau(p: Pass, layer: int, x: Tensor) -> Tensor:
    return variants.over_tokens(
        x, *(p.weights[f"blocks.{layer}.mlp.W_{n}"] for n in ("keys", "values")), tau=1
    )


def not_normed(p: Pass, layer: int, x: Tensor) -> Tensor:
    W_keys, W_values = (p.weights[f"blocks.{layer}.mlp.W_{name}"] for name in ("keys", "values"))
    return W_values @ gelu(W_keys @ x)


def text_from_position_0(p: Pass, layer: int, head: int, x_K: Tensor, position: int) -> Tensor:
    return paper.rope(x_K, position if position < 16 else position - 16)


def identity(x: Tensor) -> Tensor:
    return x


WRONG_EQUATIONS: dict[str, dict[str, dict[str, Any]]] = {
    "angpt": {
        "alpha with its sign": {"join": signed_step},
        "a step not divided by its norm": {"join": plain_step},
        "s_qk left out": {"query_key": lambda p, layer, head, x_K, t: paper.unit(paper.rope(x_K, t))},
        "scores divided by sqrt(d_head)": {"score_scale": PLAIN.score_scale},
        "s_z left out": {"logits": PLAIN.logits},
        "norms before branches": {"norm": PLAIN.norm},
    },
    "backout": {
        "one block earlier": {"stream": partial(variants.middle_out, middle=lambda L: L // 2 - 1)},
        "one block later": {"stream": partial(variants.middle_out, middle=lambda L: L // 2 + 1)},
        "added": {"stream": partial(variants.middle_out, sign=1)},
    },
    "bigram": {
        "the token and the one before swapped": {
            "start": partial(variants.with_pairs, first=27191, second=36313)
        },
        "modulo all rows": {"start": partial(variants.with_pairs, taken=0)},
        "the first token has another row": {"start": partial(variants.with_pairs, start=0)},
    },
    "difft": {
        "maps added": {"attention": partial(variants.differential, sign=1)},
        "lambda_0 of the next block": {"attention": partial(variants.differential, depth=1)},
        "lambda_0 of the block before": {"attention": partial(variants.differential, depth=-1)},
        "norm left out": {"attention": partial(variants.differential, normed=identity)},
        "1 - lambda_0 left out": {"attention": partial(variants.differential, last_factor=False)},
    },
    "difft, gated": {
        "gates in the order in which W_o reads": {"out": gate_of_pairs},
    },
    "dyt": {
        "no factor on the embedding": {"start": PLAIN.start},
        "slope outside": {"norm": slope_outside},
        "beta inside": {"norm": beta_inside},
        "the last norm is one": {
            "norm": lambda p, at, h: norm(h) if at == "norm" else variants.dynamic_tanh(p, at, h)
        },
    },
    "gated_attention": {
        "gate after W_o": {"attention": gated_after_W_o},
        "gate of another head": {"out": gate_of_another_head},
        "no sigmoid": {"out": gate_without_sigmoid},
    },
    "gqa": {
        "heads dealt out in turn": {"source": lambda head, heads: head % (heads // 2)},
        "all heads share one": {"source": lambda head, heads: 0},
    },
    "meta_tokens": {
        "the text begins at position 0": {"query_key": text_from_position_0},
        "the text does not see them": {"first_met": lambda layer, t: 0 if t < 16 else 16},
    },
    "mtp": {
        "all weights 1": {"loss": variants.several_ahead(1, 1)},
        "not divided by the weights": {"loss": variants.several_ahead(1, 0.5, divided=False)},
        "the token before": {"loss": one_position_back},
        "next token alone": {"loss": PLAIN.loss},
    },
    "parallel": {
        "one after the other": {"block": PLAIN.block},
        "the MLP reads attention": {"block": mlp_reads_the_sum},
    },
    "peri_ln": {
        "no norm after": {"join": PLAIN.join},
        "the sum normed": {"join": lambda p, place, h, branch: norm(h + branch)},
        "no norm before": {"norm": lambda p, place, h: norm(h) if place == "norm" else h},
    },
    "prope": {
        "all pairs turn": {"query_key": PLAIN.query_key},
        "the slowest pairs turn": {"query_key": partial(variants.partly_turned, slowest=True)},
        "half of the pairs turn": {"query_key": partial(variants.partly_turned, share=0.5)},
    },
    "qk_norm": {
        "not normed": {"query_key": PLAIN.query_key},
        "normed to 1": {"query_key": lambda p, layer, head, x_K, t: paper.rope(paper.unit(x_K), t)},
    },
    "relu2": {
        "not squared": {"mlp": partial(variants.squared_relu, power=1)},
        "cubed": {"mlp": partial(variants.squared_relu, power=3)},
        "squared, no ReLU": {"mlp": relu_after_square},
    },
    "sliding_window": {
        "one position more": {"first_met": variants.window(65)},
    },
    "sliding_window, 3": {
        "one position less": {"first_met": variants.window(2)},
        "one position more": {"first_met": variants.window(4)},
        "the first of four sees all": {"first_met": variants.window(3, long=0)},
        "every third sees all": {"first_met": variants.window(3, period=3, long=2)},
    },
    "smear": {
        "two positions back": {"start": partial(variants.smeared, back=2)},
        "eleven channels": {"start": partial(variants.smeared, read=11)},
        "the gate of the token before": {"start": smeared_by_its_gate},
        "the last token before the first": {"start": smeared_around},
    },
    "softcap": {
        "no cap": {"logits": PLAIN.logits},
        "30": {"logits": partial(variants.soft_cap, cap=30)},
        "tanh alone": {"logits": lambda p, z_V: 15 * torch.tanh(z_V)},
    },
    "speedrun": {
        "queries and keys not normed": {"query_key": PLAIN.query_key},
        "not squared": {"mlp": partial(variants.squared_relu, power=1)},
        "no cap": {"logits": PLAIN.logits},
    },
    "tied": {"the head is not trained": {"head": lambda p: p.weights["E_in"].detach()}},
    "tokenformer": {
        "no sqrt(N) in attention": {"project": partial(variants.projected_over_tokens, tau=1)},
        "no sqrt(N) in the MLP": {"mlp": without_tau},
        "not normed": {"mlp": not_normed},
    },
    "unet": {
        "not mirrored": {"stream": partial(variants.skips, mirror=lambda i, L: i - (L - L // 2))},
        "from one block earlier": {"stream": partial(variants.skips, mirror=lambda i, L: max(0, L - 2 - i))},
        "weights from the last block on": {"stream": weights_reversed},
        "no skips": {"stream": PLAIN.stream},
    },
    "value_embeddings": {
        "no factor of 2": {"values": partial(variants.with_value_embeddings, factor=1)},
        "eleven channels": {"values": partial(variants.with_value_embeddings, read=11)},
        "one gate for all heads": {"values": partial(variants.with_value_embeddings, one=True)},
    },
    "value_residual": {
        "lambda on the own values": {"values": partial(variants.with_first_values, swapped=True)},
        "values of the block below": {"values": partial(variants.with_first_values, noted="values below")},
        "own values alone": {"values": PLAIN.values},
    },
    "x0": {
        "x0 not normed": {"stream": partial(variants.embedding_again, x0=identity)},
        "lambda_0 rises": {"stream": partial(variants.embedding_again, lambda_0=(0.05, 0.2))},
        "lambda_r from 1": {"stream": partial(variants.embedding_again, lambda_r=(1.0, 1.05))},
    },
    "xsa": {
        "the value not normed": {"out": partial(variants.without_own_value, unit=identity)},
        "the other sign": {"out": with_own_value_twice},
        "alpha of another head": {"out": share_of_another_head},
    },
    "z_loss, 0.1": {
        "not squared": {"loss": variants.with_normalizer(0.1, power=1)},
        "taken off": {"loss": variants.with_normalizer(-0.1)},
        "half of it": {"loss": variants.with_normalizer(0.05)},
        "left out": {"loss": PLAIN.loss},
    },
}
