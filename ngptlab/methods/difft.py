"""The baseline with the difference of two attention maps in each pair of heads, A_1 V - lambda A_2 V.

Source: arXiv:2410.05258; branch difft of alxndrTL/modded-nanogpt. lambda = exp(q_1 . k_1) - exp(q_2 . k_2) + lambda_0, with four
trained vectors a block drawn with std 0.1, and lambda_0 = 0.8 - 0.6 exp(-0.3 l), l from 0. Each pair is normed and multiplied by
1 - lambda_0. The norm has no gain here, and head i is paired with head i + H/2, where the paper pairs neighbours: the same up to
the order of rows. Both maps meet both halves of the values, so attention is computed for 2 H heads. What stands between attention
and W_o gets H heads, head i the half that its own values are mixed into.

Axes in names: P pairs of heads, J = 2 K.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.errors import ConfigError
from ngptlab.nn.blocks import Attention
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import rms_norm
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, Scale, SwiGLU
from ngptlab.nn.shared import Shared


@dataclass(frozen=True)
class TwoMaps:
    """(1 - lambda_0) Norm((A_1 - lambda A_2) [v_1 v_2]) for each pair of heads."""

    def build(self, dims: Dims, parts: Parts, layer: int) -> nn.Module:
        return _TwoMaps(dims, parts, layer)


class _TwoMaps(Attention):
    def __init__(self, dims: Dims, parts: Parts, layer: int) -> None:
        super().__init__(dims, parts, layer)
        if dims.num_heads % 2:
            raise ConfigError(
                f"model.num_heads {dims.num_heads}: this method pairs heads; give an even number"
            )
        self.lambda_0 = 0.8 - 0.6 * math.exp(-0.3 * layer)
        self.q_1, self.k_1, self.q_2, self.k_2 = (
            Scale(dims.d_head, init=0.0, scale=1.0, spread=0.1) for _ in range(4)
        )

    def attend(self, q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, shared: Shared) -> Tensor:
        # Of query and key heads 1 1 2 2, of values 1 2 1 2: each map meets both halves.
        q_BTHK, k_BTHK = (_each_twice(x_BTHK) for x_BTHK in (q_BTHK, k_BTHK))
        o_BTHK = super().attend(q_BTHK, k_BTHK, v_BTHK.repeat(1, 1, 2, 1), shared)
        o11_BTPK, o12_BTPK, o21_BTPK, o22_BTPK = o_BTHK.chunk(4, dim=2)
        first_BTPJ = torch.cat((o11_BTPK, o12_BTPK), dim=-1)
        second_BTPJ = torch.cat((o21_BTPK, o22_BTPK), dim=-1)
        share = self.second_share().to(o_BTHK.dtype)
        o_BTPJ = (1 - self.lambda_0) * rms_norm(first_BTPJ - share * second_BTPJ)
        return torch.cat(o_BTPJ.chunk(2, dim=-1), dim=2)

    def joined(self, o_BTHK: Tensor) -> Tensor:
        # W_o reads pair after pair.
        return super().joined(torch.cat(o_BTHK.chunk(2, dim=2), dim=-1))

    def second_share(self) -> Tensor:
        """lambda, a scalar."""
        first, second = (
            (a.effective() * b.effective()).sum().exp()
            for a, b in ((self.q_1, self.k_1), (self.q_2, self.k_2))
        )
        return first - second + self.lambda_0


def _each_twice(x_BTHK: Tensor) -> Tensor:
    """The first half of the heads twice, then the second half twice."""
    first_BTPK, second_BTPK = x_BTHK.chunk(2, dim=2)
    return torch.cat((first_BTPK, first_BTPK, second_BTPK, second_BTPK), dim=2)


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
    attention=TwoMaps(),
)
