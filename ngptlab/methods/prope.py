"""The baseline with RoPE for the fastest 75% of each head's pairs of channels; the others don't turn.

Source: arXiv:2410.06205 (p-RoPE); branch prope of alxndrTL/modded-nanogpt. Those that turn keep their frequencies. KellerJordan's
speedrun turns half of the pairs, with frequencies of its own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import rotate
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, SwiGLU
from ngptlab.nn.rope import Rope, for_heads


@dataclass(frozen=True)
class RotateFast:
    """RoPE for a part of the pairs, the fastest."""

    turned: float = 0.75

    def build(self, dims: Dims) -> nn.Module:
        return _RotateFast(int(dims.d_head // 2 * self.turned))


class _RotateFast(nn.Module):
    def __init__(self, pairs: int) -> None:
        super().__init__()
        self.pairs = pairs

    def forward(self, q_BTHK: Tensor, k_BTHK: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        cos_THK, sin_THK = rope
        partly = self._fast(cos_THK, 1.0), self._fast(sin_THK, 0.0)
        return rotate(q_BTHK, partly), rotate(k_BTHK, for_heads(partly, k_BTHK))

    def _fast(self, table_THK: Tensor, still: float) -> Tensor:
        """The table with the value of no turn for the slow pairs, which are the last of each half."""
        halves_TH2k = table_THK.view(*table_THK.shape[:-1], 2, -1)
        fast_TH2k, slow_TH2k = halves_TH2k[..., : self.pairs], halves_TH2k[..., self.pairs :]
        return torch.cat((fast_TH2k, torch.full_like(slow_TH2k, still)), dim=-1).flatten(-2)


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
