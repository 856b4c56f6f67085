"""The baseline with the difference of two attention maps in each pair of heads, A_1 V - lambda A_2 V.

Source: arXiv:2410.05258; branch difft of alxndrTL/modded-nanogpt. lambda = exp(q_1 . k_1) - exp(q_2 . k_2) + lambda_0, with four
trained vectors a block drawn with std 0.1, and lambda_0 = 0.8 - 0.6 exp(-0.3 l), l from 0. Each pair is normed and multiplied by
1 - lambda_0. The norm has no gain here. Both maps meet both halves of the values, so attention is computed for 2 H heads.
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
        (q_1, q_2), (k_1, k_2), (v_1, v_2) = (x.chunk(2, dim=2) for x in (q_BTHK, k_BTHK, v_BTHK))
        q, k, v = (
            torch.cat(x, dim=2) for x in ((q_1, q_1, q_2, q_2), (k_1, k_1, k_2, k_2), (v_1, v_2, v_1, v_2))
        )
        o_11, o_12, o_21, o_22 = super().attend(q, k, v, shared).chunk(4, dim=2)
        first, second = torch.cat((o_11, o_12), dim=-1), torch.cat((o_21, o_22), dim=-1)
        return (1 - self.lambda_0) * rms_norm(first - self._lambda().to(first.dtype) * second)

    def _lambda(self) -> Tensor:
        first, second = (
            (a.effective() * b.effective()).sum().exp()
            for a, b in ((self.q_1, self.k_1), (self.q_2, self.k_2))
        )
        return first - second + self.lambda_0


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
