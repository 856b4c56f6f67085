"""A block of the decoder, its two branches, and the seam table, which says what fills each seam.

Axes in names: B batch, T time, D d_model, H heads, K d_head, F d_ff.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.functions import attention_to_past, causal_attention, heads_for, linear
from ngptlab.nn.matrices import matrix, pad
from ngptlab.nn.parts import BlockPart, FoldedGate, Part, built
from ngptlab.nn.shared import Shared
from ngptlab.nn.structure import (
    AllBefore,
    AllHeads,
    AsConfigured,
    AsScheduled,
    LastWeights,
    Lookup,
    NextToken,
    OneAfterAnother,
    OwnHead,
    OwnValues,
    WholeContext,
)

Fix = Callable[[Tensor], nn.Parameter]
"""Makes a matrix a parameter for inference only, in the compute dtype."""


class ModulePart(Protocol):
    """A part that is a whole module with seams inside. It is built from the seam table, for one layer."""

    def build(self, dims: Dims, parts: Parts, layer: int) -> nn.Module: ...


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, dims: Dims, parts: Parts, layer: int) -> None:
        super().__init__()
        self.d_head, self.layer = dims.d_head, layer
        self.W_q = matrix(dims.d_model, dims.d_model)
        self.W_k = matrix(dims.d_model, dims.d_model)
        self.W_v = matrix(dims.d_model, dims.d_model)
        self.W_o = matrix(dims.d_model, dims.d_model)
        self.qk = built(parts.qk, dims, layer)
        self.scale: float = built(parts.attn_scale, dims, layer)
        self.value = built(parts.value, dims, layer)
        self.window: int | None = built(parts.mask, dims, layer)
        self.out = built(parts.attn_out, dims, layer)

    def forward(self, h_BTD: Tensor, shared: Shared) -> Tensor:
        q_BTHK, k_BTHK, v_BTHK = self.project(h_BTD)
        if shared.v1_BTHK is None:
            shared.v1_BTHK = v_BTHK
        if self.value is not None:
            v_BTHK = self.value(v_BTHK, h_BTD, shared)
        q_BTHK, k_BTHK = self.qk(q_BTHK, k_BTHK, shared.rope)
        o_BTHK = self.attend(q_BTHK, k_BTHK, v_BTHK, shared)
        if self.out is not None:
            o_BTHK = self.out(o_BTHK, v_BTHK, h_BTD)
        return self.joined(o_BTHK)

    def joined(self, o_BTHK: Tensor) -> Tensor:
        """From the output of all heads to the branch's output, [B, T, D]."""
        return linear(o_BTHK.flatten(2), self.W_o)

    def project(self, h_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, [B, T, heads, K] each."""
        q_BTHK, k_BTHK, v_BTHK = (self._heads(linear(h_BTD, W)) for W in (self.W_q, self.W_k, self.W_v))
        return q_BTHK, k_BTHK, v_BTHK

    def attend(self, q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, shared: Shared) -> Tensor:
        """Attention to all positions that are not later, those that a cache holds included, [B, T, H, K]."""
        past = shared.past(self.layer)
        if past is not None:
            return past.attend(q_BTHK, k_BTHK, v_BTHK, self.scale, self.window)
        k_BTHK, v_BTHK = (heads_for(q_BTHK, x_BTHK) for x_BTHK in (k_BTHK, v_BTHK))
        if self.window is None:
            return causal_attention(q_BTHK, k_BTHK, v_BTHK, self.scale)
        k_BHTK, v_BHTK = k_BTHK.transpose(1, 2), v_BTHK.transpose(1, 2)
        return attention_to_past(q_BTHK, k_BHTK, v_BHTK, self.scale, self.window)

    def _heads(self, x_BTD: Tensor) -> Tensor:
        B, T, width = x_BTD.shape
        return x_BTD.view(B, T, width // self.d_head, self.d_head)


@dataclass(frozen=True)
class SelfAttention:
    """W_o attention(W_q h, W_k h, W_v h), with the seams `qk`, `attn_scale`, `value`, `mask` and `attn_out`."""

    def build(self, dims: Dims, parts: Parts, layer: int) -> nn.Module:
        return Attention(dims, parts, layer)


class Mlp(nn.Module):
    """What the seam `mlp` builds: h -> branch, [B, T, D] each."""

    def fold(self, fix: Fix) -> None:
        """For inference only: replace each matrix by the one that multiplies the hidden state."""
        for name, weight in list(self.named_parameters(recurse=False)):
            setattr(self, name, fix(weight))

    def as_used(self, stored: Tensor) -> Tensor:
        """The matrix that multiplies the hidden state; `stored` itself where no part scales its rows."""
        return stored


class FeedForward(Mlp):
    """Gated MLP: two projections, a gate, one projection back."""

    def __init__(self, dims: Dims, parts: Parts, layer: int) -> None:
        super().__init__()
        self.W_u = matrix(dims.d_ff, dims.d_model)
        self.W_v = matrix(dims.d_ff, dims.d_model)
        self.W_o = matrix(dims.d_model, dims.d_ff)
        self.gate = built(parts.gate, dims, layer)

    def forward(self, h_BTD: Tensor) -> Tensor:
        W_u, W_v = self.gate.rows(self.W_u, self.W_v)
        u_BTF, v_BTF = linear(h_BTD, self.padded(W_u, 0)), linear(h_BTD, self.padded(W_v, 0))
        return linear(self.gate(u_BTF, v_BTF), self.padded(self.W_o, 1))

    def padded(self, weight: Tensor, axis: int) -> Tensor:
        """A matrix as it multiplies the hidden state: padded along its F axis where the gate allows that."""
        return pad(weight, axis) if self.gate.channelwise else weight

    def fold(self, fix: Fix) -> None:
        """As `Mlp.fold`."""
        W_u, W_v = self.gate.rows(self.W_u, self.W_v)
        self.W_u, self.W_v = fix(self.padded(W_u, 0)), fix(self.padded(W_v, 0))
        self.W_o = fix(self.padded(self.W_o, 1))
        self.gate = FoldedGate(self.gate)

    def as_used(self, stored: Tensor) -> Tensor:
        """As `Mlp.as_used`."""
        W_u, W_v = self.gate.rows(self.W_u, self.W_v)
        return W_u if stored is self.W_u else W_v if stored is self.W_v else stored


@dataclass(frozen=True)
class GatedMlp:
    """W_o gate(W_u h, W_v h), with the seam `gate`."""

    def build(self, dims: Dims, parts: Parts, layer: int) -> nn.Module:
        return FeedForward(dims, parts, layer)


@dataclass(frozen=True)
class SquaredReLU:
    """W_o relu(W_u h)^2 (arXiv:2109.08668), `widening` times as wide as a gated MLP."""

    widening: float = 1.5

    def build(self, dims: Dims, parts: Parts, layer: int) -> nn.Module:
        return _SquaredReLU(dims, int(dims.d_ff * self.widening))


class _SquaredReLU(Mlp):
    def __init__(self, dims: Dims, width: int) -> None:
        super().__init__()
        self.W_u, self.W_o = matrix(width, dims.d_model), matrix(dims.d_model, width)

    def forward(self, h_BTD: Tensor) -> Tensor:
        hidden_BTF = F.relu(linear(h_BTD, pad(self.W_u, 0))).square()
        return linear(hidden_BTF, pad(self.W_o, 1))


class Block(nn.Module):
    """Attention, then MLP, each normed before and joined to the stream after, as the method says."""

    def __init__(self, dims: Dims, parts: Parts, layer: int) -> None:
        super().__init__()
        self.attn_norm = built(parts.norm, dims, layer)
        self.attn = parts.attention.build(dims, parts, layer)
        self.attn_residual = built(parts.residual, dims, layer)
        self.mlp_norm = built(parts.norm, dims, layer)
        self.mlp = parts.mlp.build(dims, parts, layer)
        self.mlp_residual = built(parts.residual, dims, layer)

    def forward(self, h_BTD: Tensor, shared: Shared) -> Tensor:
        h_BTD = self.attn_residual(h_BTD, self.attn(self.attn_norm(h_BTD), shared))
        h_BTD = self.mlp_residual(h_BTD, self.mlp(self.mlp_norm(h_BTD)))
        return h_BTD


@dataclass(frozen=True)
class AttentionThenMlp:
    """Two branches, one after the other, with the seams `norm`, `residual`, `attention` and `mlp`."""

    def build(self, dims: Dims, parts: Parts, layer: int) -> nn.Module:
        return Block(dims, parts, layer)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The seam table of a method: first the paper's steps (arXiv:2410.01131, section 2.6), which every file writes out.

    The other seams have the plain decoder's part as default. A file names those that it changes.
    """

    norm: BlockPart
    """Step 1. Before each branch and before the head: h -> h."""
    after_step: Part
    """Step 2. At construction and after every optimizer step: model -> None, in place."""
    residual: BlockPart
    """Step 3. How a branch enters the stream: (h, branch) -> h."""
    attn_scale: BlockPart
    """Step 4. Factor on attention scores, a float."""
    qk: BlockPart
    """Step 4. From projections to the queries and keys of attention, RoPE included: (q, k, rope) -> (q, k)."""
    gate: BlockPart
    """Step 5. Hidden state of the MLP: (u, v) -> hidden; and a scaling of W_u and W_v."""
    logits: Part
    """Step 6. From E_out h to the softmax's input: a scaling of E_out, or z -> z for a map that is no scaling."""
    weight_decay: float
    """Step 7. Decoupled decay of every matrix."""
    warmup_steps: int
    """Step 7. Linear learning-rate warm-up."""
    optimizer: Part
    """Which optimizer moves the parameters of a role; not among the paper's steps."""
    init: Part = AsConfigured()
    """Std that a matrix is drawn with: (name, role, std) -> std."""
    embed: Part = Lookup()
    """From tokens' rows of E_in to the first block's input: (h, shared) -> h; and learned positions before every text."""
    stream: Part = OneAfterAnother()
    """How blocks are chained: (h, blocks, shared) -> h."""
    block: ModulePart = AttentionThenMlp()
    """A block: (h, shared) -> h."""
    attention: ModulePart = SelfAttention()
    """The branch that mixes tokens: (h, shared) -> branch."""
    value: BlockPart = OwnValues()
    """Values that attention mixes: (v, h, shared) -> v, [B, T, heads, K]; grouped queries have fewer heads of values."""
    mask: BlockPart = AllBefore()
    """How many positions a token attends to, its own among them."""
    attn_out: BlockPart = AllHeads()
    """From attention's output to the input of W_o: (o, v, h) -> o."""
    mlp: ModulePart = GatedMlp()
    """The branch that treats each token by itself: h -> branch."""
    head: Part = OwnHead()
    """Whether E_out is a matrix of its own."""
    loss: Part = NextToken()
    """The training loss: (h, rows, targets, logits map) -> nats."""
    context: Part = WholeContext()
    """How long the sequences of an update are: (step, steps, context) -> tokens."""
    batch_stages: tuple[float, ...] = ()
    """Sizes of the batch in equal parts of the training, in `train.batch_size`, 1 on average; none: the same throughout."""
    schedule: Part = AsScheduled()
    """Factors on the learning rate and the decay of an update."""
    average: Part = LastWeights()
    """A mean of the weights that is measured beside them: (updates) -> how much of it stays."""
