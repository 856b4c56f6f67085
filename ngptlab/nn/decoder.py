"""A causal decoder with seams. What differs between methods enters through `Parts`; the control flow is the same for all.

Axes in names: B batch, T time, D d_model, H heads, K d_head, F d_ff, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.config.draws import Initial
from ngptlab.errors import DataError
from ngptlab.nn.cache import Cache, Past
from ngptlab.nn.functions import causal_attention, linear, mean_loss
from ngptlab.nn.loss import token_losses
from ngptlab.nn.matrices import matrix, pad
from ngptlab.nn.optimizers import Optimizers
from ngptlab.nn.parts import Part, Scale
from ngptlab.nn.precision import wide
from ngptlab.nn.roles import Role, role
from ngptlab.nn.rope import Rope, rope_tables
from ngptlab.nn.situations import is_stacked
from ngptlab.nn.storage import round_blocks


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The seam table of a method, in the order of the paper's steps (arXiv:2410.01131, section 2.6)."""

    norm: Part
    """Step 1. Before each branch and before the head: h -> h."""
    after_step: Part
    """Step 2. At construction and after every optimizer step: model -> None, in place."""
    residual: Part
    """Step 3. How a branch enters the stream: (h, branch) -> h."""
    attn_scale: Part
    """Step 4. Factor on attention scores, a float."""
    qk: Part
    """Step 4. From projections to the queries and keys that meet, RoPE included: (q, k, rope) -> (q, k)."""
    gate: Part
    """Step 5. Hidden state of the MLP: (u, v) -> hidden; and a scaling of W_u and W_v."""
    logits: Part
    """Step 6. From E_out h to the softmax's input: a scaling of E_out; z -> z for what is none."""
    weight_decay: float
    """Step 7. Decoupled decay of every matrix."""
    warmup_steps: int
    """Step 7. Linear learning-rate warm-up."""
    optimizer: Part
    """Which optimizer moves the parameters of a role; not among the paper's steps."""


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, dims: Dims, parts: Parts) -> None:
        super().__init__()
        self.num_heads = dims.num_heads
        self.W_q = matrix(dims.d_model, dims.d_model)
        self.W_k = matrix(dims.d_model, dims.d_model)
        self.W_v = matrix(dims.d_model, dims.d_model)
        self.W_o = matrix(dims.d_model, dims.d_model)
        self.qk = parts.qk.build(dims)
        self.scale: float = parts.attn_scale.build(dims)

    def forward(self, h_BTD: Tensor, rope: Rope, past: Past | None = None) -> Tensor:
        q_BTHK, k_BTHK, v_BTHK = (self._heads(linear(h_BTD, W)) for W in (self.W_q, self.W_k, self.W_v))
        q_BTHK, k_BTHK = self.qk(q_BTHK, k_BTHK, rope)
        attend = causal_attention if past is None else past.attend
        o_BTHK = attend(q_BTHK, k_BTHK, v_BTHK, self.scale)
        return linear(o_BTHK.flatten(2), self.W_o)

    def _heads(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        return x_BTD.view(B, T, self.num_heads, D // self.num_heads)


class FeedForward(nn.Module):
    """Gated MLP: two projections, a gate, one projection back."""

    def __init__(self, dims: Dims, parts: Parts) -> None:
        super().__init__()
        self.W_u = matrix(dims.d_ff, dims.d_model)
        self.W_v = matrix(dims.d_ff, dims.d_model)
        self.W_o = matrix(dims.d_model, dims.d_ff)
        self.gate = parts.gate.build(dims)

    def forward(self, h_BTD: Tensor) -> Tensor:
        W_u, W_v = self.gate.rows(self.W_u, self.W_v)
        u_BTF, v_BTF = linear(h_BTD, self.padded(W_u, 0)), linear(h_BTD, self.padded(W_v, 0))
        return linear(self.gate(u_BTF, v_BTF), self.padded(self.W_o, 1))

    def padded(self, weight: Tensor, axis: int) -> Tensor:
        """A matrix as it meets the hidden state: filled up along its F axis where the gate allows that."""
        return pad(weight, axis) if self.gate.channelwise else weight


class Block(nn.Module):
    """Attention, then MLP, each normed before and joined to the stream after, as the method says."""

    def __init__(self, dims: Dims, parts: Parts) -> None:
        super().__init__()
        self.attn_norm = parts.norm.build(dims)
        self.attn = Attention(dims, parts)
        self.attn_residual = parts.residual.build(dims)
        self.mlp_norm = parts.norm.build(dims)
        self.mlp = FeedForward(dims, parts)
        self.mlp_residual = parts.residual.build(dims)

    def forward(self, h_BTD: Tensor, rope: Rope, past: Past | None = None) -> Tensor:
        h_BTD = self.attn_residual(h_BTD, self.attn(self.attn_norm(h_BTD), rope, past))
        h_BTD = self.mlp_residual(h_BTD, self.mlp(self.mlp_norm(h_BTD)))
        return h_BTD


class Decoder(nn.Module):
    """Embedding, blocks, untied head. `model(tokens_BT)` gives logits_BTV in float32."""

    def __init__(self, dims: Dims, parts: Parts) -> None:
        super().__init__()
        self.dims, self.parts = dims, parts
        self.compute_dtype: torch.dtype | None = None
        """Dtype of activations and matrix products; None: that of the weights."""
        self.stored_dtype: torch.dtype | None = None
        """Dtype to whose digits the blocks' matrices are rounded after every step; None: not at all."""
        self.initial = Initial()
        """How matrices are drawn."""
        self.std_factors: dict[Role, float] = {}
        """Factors on the initial std of matrices, where not 1; `param.apply` sets them."""
        self.width_ratio = 1.0
        """d_model over that of the base, at which `initial` takes its d_in; `param.apply` sets it."""
        self.hidden_divisor = 1.0
        """What the hidden state is divided by before the head; `param.apply` sets it."""
        self.E_in = matrix(dims.vocab_size, dims.d_model)
        self.blocks = nn.ModuleList(Block(dims, parts) for _ in range(dims.num_layers))
        self.norm = parts.norm.build(dims)
        self.E_out = matrix(dims.vocab_size, dims.d_model)
        self.logits_map = parts.logits.build(dims)
        self._constraint = parts.after_step.build(dims)
        self.optimizers: Optimizers = parts.optimizer.build(dims)

    def forward(self, tokens_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits of the next token at every position.

        Shapes: tokens_BT integer [B, T]; result [B, T, V], float32 (float64 for a float64 model).
        Raises:
            DataError: a token is negative or not below vocab_size (checked where it costs nothing: eagerly, on CPU).
        """
        return self.logits(self.hidden(tokens_BT, cache))

    def logits(self, h_BTD: Tensor) -> Tensor:
        """The head: from what `hidden` gives to logits, [B, T, V]."""
        z_BTV = linear(h_BTD, self.logits_map.rows(self.E_out))
        return self.logits_map(wide(z_BTV))  # type: ignore[no-any-return]

    def hidden(self, tokens_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """What the head gets, [B, T, D], in the compute dtype.

        With a cache, the tokens come after those it was given before, and it then holds them too.

        Raises:
            DataError: as `forward`.
        """
        self._check(tokens_BT)
        h_BTD = F.embedding(tokens_BT, self.E_in).to(self.compute_dtype or self.E_in.dtype)
        length = tokens_BT.shape[1]
        if cache is None:
            rope = rope_tables(length, self.dims.num_heads, self.dims.d_head, like=h_BTD)
            for block in self.blocks:
                h_BTD = block(h_BTD, rope)
        else:
            rope = cache.rope(length, like=h_BTD)
            for block, past in zip(self.blocks, cache.layers, strict=True):
                h_BTD = block(h_BTD, rope, past)
            cache.length += length
        return self._divided(self.norm(h_BTD))

    def _divided(self, h_BTD: Tensor) -> Tensor:
        return h_BTD if self.hidden_divisor == 1 else h_BTD / self.hidden_divisor

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Mean cross-entropy of `targets_BT` in nats, a scalar."""
        return mean_loss(*self._head(tokens_BT), targets_BT.flatten(), self.logits_map)

    def token_losses(self, tokens_BT: Tensor, targets_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """Cross-entropy at every position in nats, [B, T], without a gradient."""
        losses_N = token_losses(*self._head(tokens_BT, cache), targets_BT.flatten(), self.logits_map)
        return losses_N.view_as(targets_BT)

    def _head(self, tokens_BT: Tensor, cache: Cache | None = None) -> tuple[Tensor, Tensor]:
        h_ND = self.hidden(tokens_BT, cache).flatten(0, 1)
        return h_ND, self.logits_map.rows(self.E_out).to(h_ND.dtype)

    def after_step(self) -> None:
        """Restore the method's constraint on the weights, then store them; to be called after every optimizer step."""
        self._constraint(self)
        if self.stored_dtype is not None:
            round_blocks(self, self.stored_dtype)

    def num_params(self) -> int:
        """Number of trained values."""
        return sum(p.numel() for p in self.parameters())

    def init_std(self, kind: Role, fan_in: int) -> float:
        """Std of a matrix before the constraint: as `initial` says, writers' divided by sqrt(2 L), times its role's factor."""
        std = self.initial.std(kind, fan_in / self.width_ratio)
        std = std / (2 * self.dims.num_layers) ** 0.5 if kind is Role.WRITER else std
        return std * self.std_factors.get(kind, 1.0)

    @torch.no_grad()
    def reset(self, seed: int) -> None:
        """Set every parameter: matrices normal with `init_std`, scales as they say; then the constraint.

        Draws are made on the CPU in the order of names, so equal seeds give equal matrices in every method and on every
        device.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            kind = role(name)
            if kind is not Role.SCALE:
                weight.copy_(
                    torch.randn(weight.shape, generator=generator) * self.init_std(kind, weight.shape[-1])
                )
        for module in self.modules():
            if isinstance(module, Scale):
                module.reset()
        self.after_step()

    def _check(self, tokens_BT: Tensor) -> None:
        if (
            tokens_BT.device.type != "cpu"
            or torch.compiler.is_compiling()
            or is_stacked()
            or not tokens_BT.numel()
        ):
            return
        low, high = int(tokens_BT.min()), int(tokens_BT.max())
        if low < 0 or high >= self.dims.vocab_size:
            raise DataError(
                f"token {low if low < 0 else high} is out of range; this model's vocabulary is 0..{self.dims.vocab_size - 1}"
            )
