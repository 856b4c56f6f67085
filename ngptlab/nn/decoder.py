"""A causal decoder with seams. What differs between methods enters through `Parts`; the control flow is the same for all.

Axes in names: B batch, T time, N tokens of all sequences, D d_model, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.config.draws import Initial
from ngptlab.errors import ConfigError, DataError
from ngptlab.nn.blocks import Parts
from ngptlab.nn.cache import Cache
from ngptlab.nn.functions import linear
from ngptlab.nn.lending import Lender
from ngptlab.nn.loss import token_losses
from ngptlab.nn.matrices import matrix
from ngptlab.nn.optimizers import Optimizers
from ngptlab.nn.parts import Scale, built
from ngptlab.nn.precision import wide
from ngptlab.nn.recompute import BlockCall, recomputed
from ngptlab.nn.roles import Role, roles, zero_at_first
from ngptlab.nn.rope import Rope, rope_tables
from ngptlab.nn.shared import Shared
from ngptlab.nn.situations import is_stacked
from ngptlab.nn.storage import round_blocks
from ngptlab.nn.structure import Chain, Embed, Loss

__all__ = ["Decoder", "Parts"]


class Decoder(nn.Module):
    """Embedding, blocks, head. `model(tokens_BT)` gives logits_BTV in float32."""

    def __init__(self, dims: Dims, parts: Parts) -> None:
        super().__init__()
        self.dims, self.parts = dims, parts
        self.compute_dtype: torch.dtype | None = None
        """Dtype of activations and matrix products; None: the weights' dtype."""
        self.stored_dtype: torch.dtype | None = None
        """Dtype to whose precision the blocks' matrices are rounded after every step; None: no rounding."""
        self.recompute = False
        """Whether the blocks' activations are computed again in the backward, instead of being kept for it."""
        self.lender: Lender | None = None
        """Who lends a pass its weights; None: they are all here."""
        self.initial = Initial()
        """How matrices are drawn."""
        self.std_factors: dict[Role, float] = {}
        """Factors on the initial std of matrices, where not 1; `param.apply` sets them."""
        self.width_ratio = 1.0
        """d_model over the base's d_model. `initial` takes d_in at the base width; `param.apply` sets it."""
        self.hidden_divisor = 1.0
        """Divisor of the hidden state before the head; `param.apply` sets it."""
        self.E_in = matrix(dims.vocab_size, dims.d_model)
        self.blocks = nn.ModuleList(parts.block.build(dims, parts, layer) for layer in range(dims.num_layers))
        self.norm = built(parts.norm, dims, dims.num_layers)
        if parts.head.build(dims):
            self.E_out = matrix(dims.vocab_size, dims.d_model)
        self.logits_map = parts.logits.build(dims)
        self.embed: Embed = parts.embed.build(dims)
        self.stream: Chain = parts.stream.build(dims)
        self.training_loss: Loss = parts.loss.build(dims)
        self._std = parts.init.build(dims)
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
        z_BTV = linear(h_BTD, self.logits_map.rows(self.head))
        return self.logits_map(wide(z_BTV))  # type: ignore[no-any-return]

    def hidden(self, tokens_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """The head's input, [B, T, D], in the compute dtype.

        With a cache, the tokens come after those of earlier calls, and the cache then holds them too.

        Raises:
            DataError: as `forward`.
        """
        self._check(tokens_BT)
        h_BTD = F.embedding(tokens_BT, self.E_in).to(self.compute_dtype or self.E_in.dtype)
        new = self._before_text(cache)
        if new:
            before_BPD = self.embed.before().to(h_BTD.dtype).expand(len(h_BTD), -1, -1)
            h_BTD = torch.cat((before_BPD, h_BTD), dim=1)
        shared = Shared(tokens_BT, h_BTD, self._rope(h_BTD, cache), cache)
        shared.x0_BTD = h_BTD = self.embed(h_BTD, shared)
        h_BTD = self.stream(h_BTD, self._blocks(cache), shared)
        if cache is not None:
            cache.length, cache.prefix = cache.length + tokens_BT.shape[1], cache.prefix + new
        return self._divided(self.norm(h_BTD[:, new:] if new else h_BTD))

    @property
    def head(self) -> nn.Parameter:
        """The head's matrix [V, D] as it is stored: E_out, or E_in where they are one."""
        return self.E_out if "E_out" in self._parameters else self.E_in

    def _blocks(self, cache: Cache | None) -> Sequence[BlockCall]:
        blocks: Sequence[BlockCall] = self.blocks  # type: ignore[assignment]
        if self.lender is not None:
            blocks = [self.lender.block(block) for block in self.blocks]
        if self.recompute and cache is None and torch.is_grad_enabled():
            return [recomputed(block) for block in blocks]
        return blocks

    def _lent(self) -> AbstractContextManager[None]:
        return nullcontext() if self.lender is None else self.lender.outside()

    @property
    def place(self) -> torch.device:
        """The device that computes."""
        return next(self.parameters()).device if self.lender is None else self.lender.place

    def _before_text(self, cache: Cache | None) -> int:
        """Number of learned positions to put before the tokens of this call."""
        if cache is None or not self.embed.prefix:
            return self.embed.prefix
        if cache.window is not None:
            raise ConfigError(
                f"window {cache.window}: this method has {self.embed.prefix} positions before every text, which a window would "
                "lose; leave it out"
            )
        return self.embed.prefix - cache.prefix

    def _rope(self, h_BTD: Tensor, cache: Cache | None) -> Rope:
        length = h_BTD.shape[1]
        if cache is not None:
            return cache.rope(length, like=h_BTD)
        return rope_tables(length, self.dims.num_heads, self.dims.d_head, like=h_BTD)

    def _divided(self, h_BTD: Tensor) -> Tensor:
        return h_BTD if self.hidden_divisor == 1 else h_BTD / self.hidden_divisor

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """The training loss in nats, a scalar: the mean cross-entropy of `targets_BT` unless the method has another loss."""
        with self._lent():
            h_BTD, rows_VD = self._head(tokens_BT)
            return self.training_loss(h_BTD, rows_VD, targets_BT, self.logits_map)  # type: ignore[no-any-return]

    def token_losses(self, tokens_BT: Tensor, targets_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """Cross-entropy at every position in nats, [B, T], without a gradient."""
        with self._lent():
            h_BTD, rows_VD = self._head(tokens_BT, cache)
            losses_N = token_losses(h_BTD.flatten(0, 1), rows_VD, targets_BT.flatten(), self.logits_map)
        return losses_N.view_as(targets_BT)

    def _head(self, tokens_BT: Tensor, cache: Cache | None = None) -> tuple[Tensor, Tensor]:
        h_BTD = self.hidden(tokens_BT, cache)
        return h_BTD, self.logits_map.rows(self.head).to(h_BTD.dtype)

    def after_step(self) -> None:
        """Restore the method's constraint on the weights, then store them; to be called after every optimizer step."""
        self._constraint(self)
        if self.stored_dtype is not None:
            round_blocks(self, self.stored_dtype)

    def num_params(self) -> int:
        """Number of trained values."""
        return sum(p.numel() for p in self.parameters())

    def init_std(self, name: str, kind: Role, fan_in: int) -> float:
        """Std of a matrix before the constraint: as `initial` says, over sqrt(2 L) for a writer, changed as the method says.

        Last, it is multiplied by the factor of its role.
        """
        std = self.initial.std(_drawn_as(kind), fan_in / self.width_ratio)
        std = std / (2 * self.dims.num_layers) ** 0.5 if kind is Role.WRITER else std
        return float(self._std(name, kind, std)) * self.std_factors.get(kind, 1.0)

    @torch.no_grad()
    def reset(self, seed: int) -> None:
        """Set every parameter: matrices normal with `init_std`, scales as they say. Then apply the constraint.

        Draws are made on the CPU. Matrices of the plain decoder are drawn in their order, any other by its name. So equal
        seeds give equal matrices in every method that has them, whatever else it has, and on every device.
        """
        kinds, zeros = roles(self), zero_at_first(self)
        matrices = {name: p for name, p in self.named_parameters() if kinds[name] is not Role.SCALE}

        def fill(name: str, draw: Tensor) -> None:
            weight = matrices.pop(name)
            std = 0.0 if name in zeros else self.init_std(name, kinds[name], weight.shape[-1])
            weight.copy_(draw * std)

        # One draw at a time, because all draws together are as large as the model.
        for name, draw in _plain_draws(self.dims, seed):
            if name in matrices and matrices[name].shape == draw.shape:
                fill(name, draw)
        for name, weight in list(matrices.items()):
            fill(name, torch.randn(weight.shape, generator=_generator(seed, name)))
        for name, module in self.named_modules():
            if isinstance(module, Scale):
                module.reset(_generator(seed, name))
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


def _drawn_as(kind: Role) -> Role:
    """The role by which `optim.init` names a matrix: one inside a branch is drawn as a reader."""
    return Role.READER if kind is Role.INNER else kind


def _plain_draws(dims: Dims, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Standard normal draws of the matrices that the plain decoder has, one after another from one generator."""
    generator = torch.Generator().manual_seed(seed)
    V, D, F_ = dims.vocab_size, dims.d_model, dims.d_ff
    block = {f"attn.{name}": (D, D) for name in ("W_q", "W_k", "W_v", "W_o")}
    block |= {"mlp.W_u": (F_, D), "mlp.W_v": (F_, D), "mlp.W_o": (D, F_)}
    blocks = {f"blocks.{n}.{name}": shape for n in range(dims.num_layers) for name, shape in block.items()}
    for name, shape in {"E_in": (V, D), "E_out": (V, D), **blocks}.items():
        yield name, torch.randn(shape, generator=generator)


def _generator(seed: int, name: str) -> torch.Generator:
    """A generator for one parameter."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
