"""The equations of three models, written out: the oracle that the package's models are tested against.

Nothing here comes from `ngptlab.nn` or `ngptlab.methods`, and nothing is meant to be fast. Every equation is
one short function; batch, positions, heads and layers are Python loops; torch serves only as arithmetic that
autograd can differentiate. Weights are a plain dict from the package's parameter names to float64 tensors; a
matrix W is in [out, in] layout.

Equation numbers are those of arXiv:2410.01131v1 (nGPT). Axis letters: B batch, T position, H head, K head
width, D model width, F MLP width, V vocabulary. A name ending in `_T` is a Python list, one item a position.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ngptlab.config import Dims

Weights = dict[str, Tensor]

ROPE_BASE = 10000.0
RMS_EPS = torch.finfo(torch.float64).eps  # by default RMSNorm adds the machine epsilon of its dtype


# ---- elements --------------------------------------------------------------------------------------------


def unit(x: Tensor) -> Tensor:
    """Norm(x) = x / ||x||_2: no gain, no epsilon."""
    return x / torch.sqrt((x * x).sum())


def rms(x: Tensor, eps: float) -> Tensor:
    """RMSNorm without gain: x / sqrt(mean(x^2) + eps)."""
    return x / torch.sqrt((x * x).sum() / len(x) + eps)


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x)."""
    return x / (1 + torch.exp(-x))


def softmax(x: Tensor) -> Tensor:
    """exp(x) / sum exp(x) (eq 2); subtracting the largest entry first changes nothing but overflow."""
    e = torch.exp(x - x.max().detach())
    return e / e.sum()


def rope(x_K: Tensor, position: int) -> Tensor:
    """Rotates each pair (j, j + K/2) by the angle position * base^(-2j/K)."""
    K = len(x_K)
    first, second = [], []
    for j in range(K // 2):
        angle = position * ROPE_BASE ** (-2 * j / K)
        x1, x2 = x_K[j], x_K[j + K // 2]
        first.append(x1 * math.cos(angle) - x2 * math.sin(angle))
        second.append(x2 * math.cos(angle) + x1 * math.sin(angle))
    return torch.stack(first + second)


def effective(stored: Tensor, init: float, scale: float) -> Tensor:
    """The value a scale acts with (sec 2.5): stored at `scale` initially, so that it acts as `init`."""
    return stored * (init / scale)


def cross_entropy(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Mean over batch and positions of -log softmax(z)[target], in nats (eq 2)."""
    B, T = targets_BT.shape
    total = torch.zeros((), dtype=logits_BTV.dtype)
    for b in range(B):
        for t in range(T):
            z_V = logits_BTV[b, t]
            largest = z_V.max().detach()
            log_sum = largest + torch.log(torch.exp(z_V - largest).sum())
            total = total + log_sum - z_V[int(targets_BT[b, t])]
    return total / (B * T)


# ---- shared skeleton -------------------------------------------------------------------------------------


def attention(
    x_T: list[Tensor],
    weights: Weights,
    layer: int,
    dims: Dims,
    place: Callable[[Tensor, int, int], Tensor],
    scale: float,
) -> list[Tensor]:
    """Causal attention of one sequence. `place(x_K, position, head)` is what becomes of a query or a key."""
    W_q, W_k, W_v, W_o = (weights[f"blocks.{layer}.attn.{name}"] for name in ("W_q", "W_k", "W_v", "W_o"))
    K = dims.d_model // dims.num_heads
    heads_T: list[list[Tensor]] = [[] for _ in x_T]
    for head in range(dims.num_heads):
        rows = slice(head * K, (head + 1) * K)
        q_T = [place(W_q[rows] @ x, t, head) for t, x in enumerate(x_T)]
        k_T = [place(W_k[rows] @ x, t, head) for t, x in enumerate(x_T)]
        v_T = [W_v[rows] @ x for x in x_T]
        for t in range(len(x_T)):
            p = softmax(torch.stack([scale * (q_T[t] * k_T[s]).sum() for s in range(t + 1)]))
            out_K = torch.zeros_like(v_T[0])
            for s in range(t + 1):
                out_K = out_K + p[s] * v_T[s]
            heads_T[t].append(out_K)
    return [W_o @ torch.cat(heads) for heads in heads_T]


def over_batch(one_sequence: Callable[[list[int]], list[Tensor]], tokens_BT: Tensor) -> Tensor:
    """Logits [B, T, V] from a function of one sequence of tokens."""
    return torch.stack([torch.stack(one_sequence([int(i) for i in tokens_T])) for tokens_T in tokens_BT])


# ---- GPT -------------------------------------------------------------------------------------------------


def gpt_logits(weights: Weights, tokens_BT: Tensor, dims: Dims, rms_eps: float = RMS_EPS) -> Tensor:
    """The baseline: pre-norm blocks (eqs 4, 5), final RMSNorm, untied output matrix (eq 1)."""
    K = dims.d_model // dims.num_heads

    def place(x_K: Tensor, position: int, head: int) -> Tensor:
        return rope(x_K, position)

    def one_sequence(tokens: list[int]) -> list[Tensor]:
        h_T = [weights["E_in"][token] for token in tokens]
        for i in range(dims.num_layers):
            # eq 4: h <- h + ATTN(RMSNorm(h))
            a_T = attention([rms(h, rms_eps) for h in h_T], weights, i, dims, place, 1 / math.sqrt(K))
            h_T = [h + a for h, a in zip(h_T, a_T, strict=True)]
            # eq 5: h <- h + MLP(RMSNorm(h)), MLP(x) = W_o (u * SiLU(v))
            for t, h in enumerate(h_T):
                x = rms(h, rms_eps)
                u_F = weights[f"blocks.{i}.mlp.W_u"] @ x
                v_F = weights[f"blocks.{i}.mlp.W_v"] @ x
                h_T[t] = h + weights[f"blocks.{i}.mlp.W_o"] @ (u_F * silu(v_F))
        return [weights["E_out"] @ rms(h, rms_eps) for h in h_T]  # eq 1

    return over_batch(one_sequence, tokens_BT)


# ---- nGPT ------------------------------------------------------------------------------------------------


def qk_paper(x_K: Tensor, position: int, s_K: Tensor) -> Tensor:
    """Eqs 15, 16: RoPE, then Norm, then times s_qk."""
    return unit(rope(x_K, position)) * s_K


def qk_modded(x_K: Tensor, position: int, s_K: Tensor) -> Tensor:
    """The replication's order: Norm, then times s_qk, then RoPE."""
    return rope(unit(x_K) * s_K, position)


def qk_without_norm(x_K: Tensor, position: int, s_K: Tensor) -> Tensor:
    """Eqs 15, 16 without their Norm (table 6)."""
    return rope(x_K, position) * s_K


def gate(u_F: Tensor, v_F: Tensor, s_u_F: Tensor, s_v_F: Tensor, d_model: int) -> Tensor:
    """SwiGLU of the scaled branches; SiLU is on v, and so is sqrt(d_model)."""
    u_F = u_F * s_u_F  # eq 20
    v_F = v_F * s_v_F * math.sqrt(d_model)  # eq 21
    return u_F * silu(v_F)


def move(h: Tensor, branch: Tensor, alpha: Tensor) -> Tensor:
    """Eqs 10, 11: h <- Norm(h + |alpha| (Norm(branch) - h))."""
    return unit(h + torch.abs(alpha) * (unit(branch) - h))


def own_s_qk(s_qk_HK: Tensor, head: int) -> Tensor:
    """The paper: every head has its own s_qk."""
    return s_qk_HK[head]


def common_s_qk(s_qk_K: Tensor, head: int) -> Tensor:
    """The replication: one s_qk for all heads of a layer. So it is where s_qk is one number."""
    return s_qk_K


@dataclass(frozen=True, kw_only=True)
class Equations:
    """What two nGPTs may differ in, and what a test may replace by something wrong."""

    qk: Callable[[Tensor, int, Tensor], Tensor] = qk_paper
    head_s_qk: Callable[[Tensor, int], Tensor] = own_s_qk
    gate: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor] = gate
    move: Callable[[Tensor, Tensor, Tensor], Tensor] = move
    attn_scale: Callable[[int], float] = math.sqrt  # of d_head; sqrt(d_head), not its inverse (A.4)
    alpha_init: Callable[[Dims], float] = lambda dims: 0.05
    s_qk_init: float = 1.0
    s_z_scale: Callable[[Dims], float] = lambda dims: 1 / math.sqrt(dims.d_model)
    fixed: frozenset[str] = frozenset()  # scales that are 1 and not trained


# nGPT of the paper: alpha starts at 0.05, an s_qk for each head; RoPE, Norm, s_qk.
PAPER = Equations()
# nGPT of alxndrTL/modded-nanogpt: alpha starts at 1/L, one s_qk for all heads; Norm, s_qk, RoPE.
MODDED = replace(PAPER, qk=qk_modded, head_s_qk=common_s_qk, alpha_init=lambda dims: 1 / dims.num_layers)

# Rows of tables 4, 5 and 6. A scale that is one number stands for a vector of it by itself; as s_u it would change nothing.
S_Z_SCALE_ONE = replace(PAPER, s_z_scale=lambda dims: 1.0)
S_QK_INIT_THIRD = replace(PAPER, s_qk_init=0.33)
SCALARS = replace(PAPER, head_s_qk=common_s_qk, fixed=frozenset({"s_u"}))
FIXED = replace(PAPER, head_s_qk=common_s_qk, fixed=frozenset({"s_qk", "s_u", "s_v"}))
NO_QK_NORM = replace(PAPER, qk=qk_without_norm)


def normalized_logits(weights: Weights, tokens_BT: Tensor, dims: Dims, equations: Equations) -> Tensor:
    """An nGPT: no norm before a branch or the head; scales act as stored * init / scale (secs 2.5, 2.6)."""
    K = dims.d_model // dims.num_heads
    small = 1 / math.sqrt(dims.d_model)

    def one_sequence(tokens: list[int]) -> list[Tensor]:
        h_T = [weights["E_in"][token] for token in tokens]
        for i in range(dims.num_layers):
            block = f"blocks.{i}"
            alpha_init = equations.alpha_init(dims)
            alpha_A = effective(weights[f"{block}.attn_residual.alpha.stored"], alpha_init, small)
            alpha_M = effective(weights[f"{block}.mlp_residual.alpha.stored"], alpha_init, small)

            def trained(name: str, init: float, scale: float, block: str = block) -> Tensor:
                if name.rpartition(".")[2] in equations.fixed:
                    return torch.ones((), dtype=torch.float64)
                return effective(weights[f"{block}.{name}.stored"], init, scale)

            s_qk = trained("attn.qk.s_qk", equations.s_qk_init, small)
            s_u_F = trained("mlp.gate.s_u", 1, 1)
            s_v_F = trained("mlp.gate.s_v", 1, 1)

            def place(x_K: Tensor, position: int, head: int, s_qk: Tensor = s_qk) -> Tensor:
                return equations.qk(x_K, position, equations.head_s_qk(s_qk, head))  # eqs 15, 16

            a_T = attention(h_T, weights, i, dims, place, equations.attn_scale(K))
            h_T = [equations.move(h, a, alpha_A) for h, a in zip(h_T, a_T, strict=True)]  # eq 10
            for t, h in enumerate(h_T):
                u_F = weights[f"{block}.mlp.W_u"] @ h
                v_F = weights[f"{block}.mlp.W_v"] @ h
                branch = weights[f"{block}.mlp.W_o"] @ equations.gate(u_F, v_F, s_u_F, s_v_F, dims.d_model)
                h_T[t] = equations.move(h, branch, alpha_M)  # eq 11
        s_z_V = effective(weights["logits_map.s_z.stored"], 1, equations.s_z_scale(dims))
        return [(weights["E_out"] @ h) * s_z_V for h in h_T]  # eqs 1, 3

    return over_batch(one_sequence, tokens_BT)


# ---- constraint ------------------------------------------------------------------------------------------


def unit_norm_constraint(weights: Weights) -> Weights:
    """Step 2 of sec 2.6: every matrix to unit norm along its d_model axis. Scales pass unchanged.

    In [out, in] layout that axis is a row of E_in and of whatever reads the residual stream (E_out, W_q, W_k,
    both W_v, W_u), and a column of what writes to it (both W_o).
    """
    constrained: Weights = {}
    for name, W in weights.items():
        leaf = name.rsplit(".", 1)[-1]
        if leaf in ("E_in", "E_out", "W_q", "W_k", "W_v", "W_u"):
            constrained[name] = torch.stack([unit(W[row]) for row in range(W.shape[0])])
        elif leaf == "W_o":
            constrained[name] = torch.stack([unit(W[:, column]) for column in range(W.shape[1])], dim=1)
        else:
            assert leaf == "stored", f"no rule for {name}"
            constrained[name] = W
    return constrained
