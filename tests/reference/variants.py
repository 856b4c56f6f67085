"""The equations of methods that change one place of the plain decoder, written out: the oracle of `test_variants.py`.

Each stands in a hook of `plain.py`, and comes from the formula of the source that its method's file names. Arguments
with a default are what a test replaces by something wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import paper
import torch
from paper import Weights, cross_entropy, effective
from plain import PLAIN, Equations, Pass, by_head, gelu, heads, mix, norm, product, rows_of_tokens, sigmoid
from torch import Tensor

# ---- before the blocks -----------------------------------------------------------------------------------


def scaled_embedding(p: Pass) -> list[Tensor]:
    """arXiv:2503.10622: one trained factor right after the embedding, sqrt(d_model) at first."""
    return [p.stored("embed.factor") * x for x in rows_of_tokens(p)]


def learned_before(p: Pass) -> list[Tensor]:
    """arXiv:2411.13676: learned rows before the text; the text's positions count on from them."""
    E_meta = p.weights["embed.E_meta"]
    return [E_meta[n] for n in range(len(E_meta))] + rows_of_tokens(p)


def smeared(p: Pass, read: int = 12, back: int = 1) -> list[Tensor]:
    """x_t += lambda sigmoid(w . x_t[:12]) x_{t-1}; the first token has none before it."""
    x_T, out_T = rows_of_tokens(p), []
    for t, x in enumerate(x_T):
        gate = sigmoid((p.stored("embed.gate")[:read] * x[:read]).sum())
        out_T.append(x + p.stored("embed.share") * gate * x_T[t - back] if t >= back else x)
    return out_T


def with_pairs(
    p: Pass, first: int = 36313, second: int = 27191, taken: int = 1, start: int | None = None
) -> list[Tensor]:
    """x_t += lambda E2[(36313 x_t xor 27191 x_{t-1}) mod (5 V - 1)]; the first token gets the last of 5 V rows."""
    rows, out_T = 5 * p.dims.vocab_size, []
    for t, x in enumerate(rows_of_tokens(p)):
        if t == 0:
            row = rows - 1 if start is None else start
        else:
            row = ((first * p.tokens[t]) ^ (second * p.tokens[t - 1])) % (rows - taken)
        out_T.append(x + p.stored("embed.share") * p.weights["embed.E_pair"][row])
    return out_T


# ---- from block to block ---------------------------------------------------------------------------------


def skips(
    p: Pass, h_T: list[Tensor], mirror: Callable[[int, int], int] = lambda i, L: L - 1 - i
) -> list[Tensor]:
    """Layer i of the second half gets w_i times the stream after layer L - 1 - i; weights in the order of use."""
    L, after = p.dims.num_layers, {}
    w = p.stored("stream.weights") if L > 1 else []
    for i in range(L):
        if i >= L - L // 2:
            h_T = [h + w[i - (L - L // 2)] * s for h, s in zip(h_T, after[mirror(i, L)], strict=True)]
        h_T = after[i] = p.equations.block(p, i, h_T)
    return h_T


def embedding_again(
    p: Pass,
    h_T: list[Tensor],
    *,
    lambda_r: tuple[float, float] = (1.15, 1.05),
    lambda_0: tuple[float, float] = (0.2, 0.05),
    x0: Callable[[Tensor], Tensor] = norm,
) -> list[Tensor]:
    """x <- lambda_r x + lambda_0 x0 at each block, x0 the normed embedding; both fall in a line over the depth.

    What is trained are factors on them, 1 at first. That of lambda_r is stored a hundred times as large.
    """
    L = p.dims.num_layers
    x0_T = h_T = [x0(h) for h in h_T]
    for i in range(L):
        part = i / (L - 1) if L > 1 else 0.0
        r = (lambda_r[0] + part * (lambda_r[1] - lambda_r[0])) * p.stored("stream.stream_factor")[i] / 100
        z = (lambda_0[0] + part * (lambda_0[1] - lambda_0[0])) * p.stored("stream.x0_factor")[i]
        h_T = p.equations.block(p, i, [r * h + z * x for h, x in zip(h_T, x0_T, strict=True)])
    return h_T


def middle_out(
    p: Pass, h_T: list[Tensor], middle: Callable[[int], int] = lambda L: L // 2, sign: int = -1
) -> list[Tensor]:
    """x -= lambda x_mid after all blocks, x_mid the stream after block L // 2, counted from 0."""
    after_T = {}
    for i in range(p.dims.num_layers):
        h_T = after_T[i] = p.equations.block(p, i, h_T)
    middle_T = after_T[middle(p.dims.num_layers)]
    return [h + sign * p.stored("stream.share") * m for h, m in zip(h_T, middle_T, strict=True)]


# ---- blocks, norms, joints -------------------------------------------------------------------------------


def parallel(p: Pass, layer: int, h_T: list[Tensor]) -> list[Tensor]:
    """h + attn(Norm h) + mlp(Norm h)."""
    x_T = [norm(h) for h in h_T]
    a_T = p.equations.attention(p, layer, x_T)
    return [h + a + p.equations.mlp(p, layer, x) for h, a, x in zip(h_T, a_T, x_T, strict=True)]


def dynamic_tanh(p: Pass, place: str, h: Tensor) -> Tensor:
    """gamma tanh(alpha h) + beta (arXiv:2503.10622)."""
    return p.stored(f"{place}.gamma") * torch.tanh(p.stored(f"{place}.slope") * h) + p.stored(f"{place}.beta")


def peri(p: Pass, place: str, h: Tensor, branch: Tensor) -> Tensor:
    """h + Norm(f(Norm(h))) (arXiv:2502.02732)."""
    return h + norm(branch)


def approximate_step(p: Pass, place: str, h: Tensor, branch: Tensor) -> Tensor:
    """(1 - a) h + a f, divided by the norm of two unit vectors at right angles so mixed (arXiv:2505.22014)."""
    a = torch.abs(effective(p.stored(f"{place}.alpha"), 0.05, 1 / math.sqrt(p.dims.d_model)))
    return ((1 - a) * h + a * branch) / torch.sqrt((1 - a) ** 2 + a**2)


# ---- queries, keys, values, what attention gives ---------------------------------------------------------


def normed_then_turned(p: Pass, layer: int, head: int, x_K: Tensor, position: int) -> Tensor:
    """Gainless RMS norm in each head, then RoPE."""
    return paper.rope(norm(x_K), position)


def turned_then_scaled(p: Pass, layer: int, head: int, x_K: Tensor, position: int) -> Tensor:
    """As nGPT's: equations 15, 16 of arXiv:2410.01131."""
    s_qk_HK = effective(p.stored(f"blocks.{layer}.attn.qk.s_qk"), 1, 1 / math.sqrt(p.dims.d_model))
    return paper.qk_paper(x_K, position, s_qk_HK[head])


def partly_turned(
    p: Pass, layer: int, head: int, x_K: Tensor, position: int, share: float = 0.75, slowest: bool = False
) -> Tensor:
    """RoPE with a share of the frequencies, the fastest; the others are 0 (arXiv:2410.06205)."""
    all_K, K = paper.rope(x_K, position), len(x_K)
    pairs = math.floor(share * (K // 2))
    kept = range(K // 2 - pairs, K // 2) if slowest else range(pairs)
    return torch.stack([all_K[c] if c % (K // 2) in kept else x_K[c] for c in range(K)])


def window(short: int, period: int = 4, long: int = 3) -> Callable[[int, int], int]:
    """Blocks that see `short` positions, their own the last; block `long` of every `period` sees all."""
    return lambda layer, t: 0 if layer % period == long else max(0, t - short + 1)


def with_first_values(
    p: Pass,
    layer: int,
    v_HT: list[list[Tensor]],
    x_T: list[Tensor],
    noted: str = "first values",
    swapped: bool = False,
) -> list[list[Tensor]]:
    """(1 - lambda) v + lambda v_1 (arXiv:2410.17897), from the second block on."""
    if layer == 0:
        return v_HT
    mixing = p.stored(f"blocks.{layer}.attn.value.mix")
    own, first = (mixing, 1 - mixing) if swapped else (1 - mixing, mixing)
    return [
        [own * v + first * v1 for v, v1 in zip(v_T, v1_T, strict=True)]
        for v_T, v1_T in zip(v_HT, p.noted[noted], strict=True)
    ]


def with_value_embeddings(
    p: Pass,
    layer: int,
    v_HT: list[list[Tensor]],
    x_T: list[Tensor],
    factor: float = 2,
    read: int = 12,
    one: bool = False,
) -> list[list[Tensor]]:
    """v += 2 sigmoid(W_g x[:12]) VE[token] in every second block, a gate for each head."""
    if layer % 2 == 0:
        return v_HT
    place = f"blocks.{layer}.attn.value"
    out_HT: list[list[Tensor]] = [[] for _ in v_HT]
    for t, x in enumerate(x_T):
        rows = heads(p, p.weights[f"{place}.E_v"][p.tokens[t]])
        for head, v_T in enumerate(v_HT):
            gate = factor * sigmoid((p.weights[f"{place}.W_g"][0 if one else head, :read] * x[:read]).sum())
            out_HT[head].append(v_T[t] + gate * rows[head])
    return out_HT


def gated(p: Pass, layer: int, head: int, o_K: Tensor, v_K: Tensor, x: Tensor) -> Tensor:
    """o * sigmoid(W_g x), a gate for each channel of a head, before W_o (arXiv:2505.06708)."""
    return o_K * sigmoid(heads(p, p.weights[f"blocks.{layer}.attn.out.W_g"] @ x)[head])


def without_own_value(
    p: Pass,
    layer: int,
    head: int,
    o_K: Tensor,
    v_K: Tensor,
    x: Tensor,
    unit: Callable[[Tensor], Tensor] = paper.unit,
) -> Tensor:
    """o - tanh(alpha) (o . v^) v^, v^ the token's own value, normed (arXiv:2603.09078)."""
    v_K = unit(v_K)
    return o_K - torch.tanh(p.stored(f"blocks.{layer}.attn.out.share")[head]) * (o_K * v_K).sum() * v_K


def differential(
    p: Pass,
    layer: int,
    x_T: list[Tensor],
    sign: float = -1,
    depth: int = 0,
    normed: Callable[[Tensor], Tensor] = norm,
    last_factor: bool = True,
) -> list[Tensor]:
    """(1 - lambda_0) Norm(attn_1 - lambda attn_2) for each pair of heads (arXiv:2410.05258).

    A pair are head i and head i + H / 2: of queries, of keys, and of the values, which together are one wide value. What stands
    before W_o gets each half as the head whose values are mixed into it.
    """
    place, K, pairs = f"blocks.{layer}.attn", p.dims.d_model // p.dims.num_heads, p.dims.num_heads // 2
    number = layer + 1 + depth  # of the block, the paper's l, which counts from 1
    lambda_0 = 0.8 - 0.6 * math.exp(-0.3 * (number - 1))
    q_1, k_1, q_2, k_2 = (p.stored(f"{place}.{name}") for name in ("q_1", "k_1", "q_2", "k_2"))
    lambda_ = torch.exp((q_1 * k_1).sum()) - torch.exp((q_2 * k_2).sum()) + lambda_0
    q_HT, k_HT, v_HT = (by_head(p, layer, letter, x_T) for letter in "qkv")
    out_T: list[list[Tensor]] = [[] for _ in x_T]
    for pair in range(pairs):
        wide_T = [torch.cat((v_HT[pair][t], v_HT[pair + pairs][t])) for t in range(len(x_T))]
        for t in range(len(x_T)):
            maps = []
            for head in (pair, pair + pairs):
                k_T = [paper.rope(k_HT[head][s], s) for s in range(t + 1)]
                maps.append(mix(paper.rope(q_HT[head][t], t), k_T, wide_T[: t + 1], 1 / math.sqrt(K)))
            o = normed(maps[0] + sign * lambda_ * maps[1])
            o = (1 - lambda_0) * o if last_factor else o
            for head, half in ((pair, o[:K]), (pair + pairs, o[K:])):
                out_T[t].append(p.equations.out(p, layer, head, half, v_HT[head][t], x_T[t]))
    return [product(p, layer, "o", torch.cat(pieces)) for pieces in out_T]


# ---- maps and MLPs ---------------------------------------------------------------------------------------


def over_tokens(x: Tensor, keys: Tensor, values: Tensor, tau: float | None = None) -> Tensor:
    """gelu(tau x K^T / norm_2(x K^T)) V with tau = sqrt(N) (arXiv:2410.23168). V is stored as [out, N]."""
    scores_N = keys @ x
    tau = math.sqrt(len(scores_N)) if tau is None else tau
    return values @ gelu(tau * paper.unit(scores_N))


def projected_over_tokens(p: Pass, layer: int, letter: str, x: Tensor, tau: float | None = None) -> Tensor:
    place = f"blocks.{layer}.attn.to_{letter}"
    return over_tokens(x, p.weights[f"{place}.W_keys"], p.weights[f"{place}.W_values"], tau)


def mlp_over_tokens(p: Pass, layer: int, x: Tensor) -> Tensor:
    return over_tokens(x, *(p.weights[f"blocks.{layer}.mlp.W_{name}"] for name in ("keys", "values")))


def squared_relu(p: Pass, layer: int, x: Tensor, power: int = 2) -> Tensor:
    """W_o relu(W_u x)^2 (arXiv:2109.08668)."""
    u_F = p.weights[f"blocks.{layer}.mlp.W_u"] @ x
    return p.weights[f"blocks.{layer}.mlp.W_o"] @ (torch.maximum(u_F, torch.zeros_like(u_F)) ** power)


def scaled_swiglu(p: Pass, layer: int, x: Tensor) -> Tensor:
    """As nGPT's: equations 20, 21 of arXiv:2410.01131."""
    W_u, W_v, W_o = (p.weights[f"blocks.{layer}.mlp.{name}"] for name in ("W_u", "W_v", "W_o"))
    s_u_F, s_v_F = (p.stored(f"blocks.{layer}.mlp.gate.{name}") for name in ("s_u", "s_v"))
    return W_o @ paper.gate(W_u @ x, W_v @ x, s_u_F, s_v_F, p.dims.d_model)


# ---- logits and loss -------------------------------------------------------------------------------------


def soft_cap(p: Pass, z_V: Tensor, cap: float = 15) -> Tensor:
    """cap tanh(z / cap)."""
    return cap * torch.tanh(z_V / cap)


def scaled_logits(p: Pass, z_V: Tensor) -> Tensor:
    """As nGPT's: equation 3 of arXiv:2410.01131."""
    return z_V * effective(p.stored("logits_map.s_z"), 1, 1 / math.sqrt(p.dims.d_model))


def several_ahead(*weights: float, divided: bool = True) -> Callable[[Tensor, Tensor], Tensor]:
    """sum_k w_k CE(t + k) / sum_k w_k, where CE(t + k) is a mean over the positions that have a token so far ahead."""

    def loss(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
        total, T = torch.zeros((), dtype=logits_BTV.dtype), targets_BT.shape[1]
        for k, weight in enumerate(weights):
            total = total + weight * cross_entropy(logits_BTV[:, : T - k], targets_BT[:, k:])
        return total / sum(weights) if divided else total

    return loss


def with_normalizer(weight: float, power: int = 2) -> Callable[[Tensor, Tensor], Tensor]:
    """CE + weight mean(logsumexp(z)^2) (arXiv:2204.02311)."""

    def loss(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
        total, (B, T) = torch.zeros((), dtype=logits_BTV.dtype), targets_BT.shape
        for b in range(B):
            for t in range(T):
                total = total + torch.log(torch.exp(logits_BTV[b, t]).sum()) ** power
        return cross_entropy(logits_BTV, targets_BT) + weight * total / (B * T)

    return loss


# ---- the variants ----------------------------------------------------------------------------------------

VARIANTS: dict[str, Equations] = {
    "angpt": Equations(
        norm=lambda p, place, h: h,
        join=approximate_step,
        query_key=turned_then_scaled,
        score_scale=math.sqrt,
        mlp=scaled_swiglu,
        logits=scaled_logits,
    ),
    "backout": Equations(stream=middle_out),
    "bigram": Equations(start=with_pairs),
    "difft": Equations(attention=differential),
    "dyt": Equations(norm=dynamic_tanh, start=scaled_embedding),
    "gated_attention": Equations(out=gated),
    "gqa": Equations(source=lambda head, heads: head // 2),
    "meta_tokens": Equations(start=learned_before),
    "mtp": Equations(loss=several_ahead(1, 0.5)),
    "parallel": Equations(block=parallel),
    "peri_ln": Equations(join=peri),
    "prope": Equations(query_key=partly_turned),
    "qk_norm": Equations(query_key=normed_then_turned),
    "relu2": Equations(mlp=squared_relu),
    "sliding_window": Equations(first_met=window(64)),
    "smear": Equations(start=smeared),
    "softcap": Equations(logits=soft_cap),
    "tied": Equations(head=lambda p: p.weights["E_in"]),
    "tokenformer": Equations(project=projected_over_tokens, mlp=mlp_over_tokens),
    "unet": Equations(stream=skips),
    "value_embeddings": Equations(values=with_value_embeddings),
    "value_residual": Equations(values=with_first_values),
    "x0": Equations(stream=embedding_again),
    "xsa": Equations(out=without_own_value),
    "z_loss": Equations(loss=with_normalizer(1e-4)),
    # What a method says of initial weights or of batches is no equation of the forward pass; test_variants.py has it.
    "seqlen_warmup": PLAIN,
    "zero_init": PLAIN,
}
VARIANTS["speedrun"] = replace(PLAIN, query_key=normed_then_turned, mlp=squared_relu, logits=soft_cap)


# ---- constraint, initial weights, batches ----------------------------------------------------------------


def bounded(weights: Weights) -> Weights:
    """arXiv:2505.22014: every vector along d_model has a norm of at most 1; longer ones are scaled back to 1."""
    out = {}
    for name, W in weights.items():
        if name.endswith(".stored"):
            out[name] = W
            continue
        by_row = W.detach().T if name.endswith("W_o") else W.detach()
        rows = torch.stack([row / max(1.0, math.sqrt(float((row * row).sum()))) for row in by_row])
        out[name] = rows.T if name.endswith("W_o") else rows
    return out


def context_of_step(
    step: int, steps: int, context: int, first: int = 8, until: Fraction = Fraction(4, 5)
) -> int:
    """A context from `first` to the whole in a line over a share of the steps, down to a divisor of the whole."""
    line = first + (context - first) * min(Fraction(1), step / (until * steps))
    return max(n for n in range(1, context + 1) if context % n == 0 and n <= line)


# ---- as training goes on ---------------------------------------------------------------------------------


def warmup_and_cooldown(step: int, steps: int, warmup: int, cooldown: int) -> Fraction:
    """The usual rate over its peak: up in a line, level, and down in a line to 0, which the update after the last would have."""
    return min(Fraction(1), Fraction(step + 1, warmup), Fraction(steps - step, cooldown))


def logarithmic(step: int, steps: int, rho: float = 0.1, part: Fraction = Fraction(1, 10)) -> float:
    """arXiv:2608.01284 as our notes have it: a tenth of warm-up, then 1 - log(1 + r / rho) / log(1 + 1 / rho)."""
    warmup = math.ceil(part * steps)
    if step < warmup:
        return (step + 1) / warmup
    r = (step - warmup) / (steps - warmup)
    return 1 - math.log(1 + r / rho) / math.log(1 + 1 / rho)


def fading(step: int, steps: int) -> Fraction:
    """A decay that falls to 0 in a line: 1 at the first update, and 0 at the one after the last."""
    return Fraction(steps - step, steps)


def batch_of_thirds(step: int, steps: int, batch: int) -> int:
    """Half a batch in the first third of the updates, one and a half in the last; what is left over is in the middle."""
    third = steps // 3
    return batch // 2 if step < third else batch + batch // 2 if step >= steps - third else batch


def mean_of_weights(weights_of_updates: list[Weights], decay: float = 0.995) -> Weights:
    """Mean of the weights after each update: all alike until the oldest would count for less than by the decay."""
    mean = weights_of_updates[0]
    for number, weights in enumerate(weights_of_updates[1:], start=2):
        kept = min(decay, (number - 1) / number)
        mean = {name: kept * mean[name] + (1 - kept) * weights[name] for name in mean}
    return mean
