"""The baseline whose matrices are attention over learned tokens, gelu(sqrt(N) x K^T / ||x K^T||) V.

Source: arXiv:2410.23168; branch tokenformer of alxndrTL/modded-nanogpt. N is chosen so that attention and MLP have as many
weights as the baseline's: d_model / 2 for each of attention's four maps, 1.5 d_ff for the MLP, which is one such map. Keys and
values are drawn as other matrices with their role, where the source has stds of its own.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.blocks import Attention, Mlp
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import linear, rms_norm
from ngptlab.nn.matrices import matrix
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.roles import Role


@dataclass(frozen=True)
class TokenAttention:
    """Self-attention whose four maps are attention over d_model / 2 learned tokens each."""

    def build(self, dims: Dims, parts: Parts, layer: int) -> nn.Module:
        return _TokenAttention(dims, parts, layer)


class _TokenAttention(Attention):
    def __init__(self, dims: Dims, parts: Parts, layer: int) -> None:
        super().__init__(dims, parts, layer)
        del self.W_q, self.W_k, self.W_v, self.W_o
        self.to_q, self.to_k, self.to_v = (_Reading(dims.d_model // 2, dims.d_model) for _ in range(3))
        self.to_o = _Writing(dims.d_model // 2, dims.d_model)

    def project(self, h_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q_BTHK, k_BTHK, v_BTHK = (self._heads(to(h_BTD)) for to in (self.to_q, self.to_k, self.to_v))
        return q_BTHK, k_BTHK, v_BTHK

    def joined(self, o_BTHK: Tensor) -> Tensor:
        return self.to_o(o_BTHK.flatten(2))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class TokenMlp:
    """Attention over 1.5 d_ff learned tokens."""

    def build(self, dims: Dims, parts: Parts, layer: int) -> nn.Module:
        return _TokenMlp(dims)


class _TokenMlp(Mlp):
    roles: ClassVar = {"W_keys": Role.READER, "W_values": Role.WRITER}

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        tokens = dims.d_ff * 3 // 2
        self.W_keys, self.W_values = matrix(tokens, dims.d_model), matrix(dims.d_model, tokens)

    def forward(self, h_BTD: Tensor) -> Tensor:
        return _over_tokens(h_BTD, self.W_keys, self.W_values)


class _Reading(nn.Module):
    """A map from the stream into a branch, both of one width, over so many learned tokens."""

    roles: ClassVar = {"W_keys": Role.READER, "W_values": Role.INNER}

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.W_keys, self.W_values = matrix(tokens, width), matrix(width, tokens)

    def forward(self, x_BTD: Tensor) -> Tensor:
        return _over_tokens(x_BTD, self.W_keys, self.W_values)


class _Writing(_Reading):
    """A map from a branch to the stream."""

    roles: ClassVar = {"W_keys": Role.INNER, "W_values": Role.WRITER}


def _over_tokens(x_BTD: Tensor, W_keys: Tensor, W_values: Tensor) -> Tensor:
    # Over its norm and times sqrt(N) is over its root mean square.
    return linear(F.gelu(rms_norm(linear(x_BTD, W_keys))), W_values)


METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=HeadWidthPower(-0.5),
    qk=Rotate(),
    gate=SwiGLU(),
    logits=PlainLogits(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=AdamW(),
    attention=TokenAttention(),
    mlp=TokenMlp(),
)
