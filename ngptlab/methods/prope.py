"""The baseline with RoPE for the fastest 75% of each head's pairs of channels; the others don't turn.

Source: arXiv:2410.06205 (p-RoPE); branch prope of alxndrTL/modded-nanogpt. KellerJordan/modded-nanogpt turns half of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import rotate
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, SwiGLU
from ngptlab.nn.rope import Rope


@dataclass(frozen=True)
class RotateFast:
    """RoPE with the tables of the slow pairs set to no turn."""

    turned: float = 0.75

    def build(self, dims: Dims) -> nn.Module:
        return _RotateFast(int(dims.d_head // 2 * self.turned))


class _RotateFast(nn.Module):
    def __init__(self, pairs: int) -> None:
        super().__init__()
        self.pairs = pairs

    def forward(self, q_BTHK: Tensor, k_BTHK: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        cos_THK, sin_THK = rope
        partly = self._kept(cos_THK, 1.0), self._kept(sin_THK, 0.0)
        return rotate(q_BTHK, partly), rotate(k_BTHK, partly)

    def _kept(self, table_THK: Tensor, otherwise: float) -> Tensor:
        """The table with another value for the slow pairs, which are the last of each half."""
        halves = table_THK.view(*table_THK.shape[:-1], 2, -1)
        still = torch.full_like(halves[..., self.pairs :], otherwise)
        return torch.cat((halves[..., : self.pairs], still), dim=-1).flatten(-2)


METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=HeadWidthPower(-0.5),
    qk=RotateFast(),
    gate=SwiGLU(),
    logits=PlainLogits(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=AdamW(),
)
