"""The baseline whose attention leaves out the direction of a token's own value, o - tanh(alpha) (o . v^) v^.

Source: arXiv:2603.09078 (exclusive self-attention), which leaves out all of it; KellerJordan/modded-nanogpt, record 82, for the
factor. v^ is the value with norm 1. alpha is one trained number a head and starts at 0, where nothing is left out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import heads_for, unit_norm
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, Scale, SwiGLU


@dataclass(frozen=True)
class WithoutOwnValue:
    """o - tanh(alpha) (o . v^) v^ in each head."""

    def build(self, dims: Dims) -> nn.Module:
        return _WithoutOwnValue(dims.num_heads)


class _WithoutOwnValue(nn.Module):
    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.share = Scale(num_heads, init=0.0, scale=1.0)

    def forward(self, o_BTHK: Tensor, v_BTHK: Tensor, h_BTD: Tensor) -> Tensor:
        unit_BTHK = heads_for(o_BTHK, unit_norm(v_BTHK))
        along_BTH1 = (o_BTHK * unit_BTHK).sum(-1, keepdim=True)
        share_H1 = torch.tanh(self.share.effective()).unsqueeze(-1).to(o_BTHK.dtype)
        return o_BTHK - share_H1 * along_BTH1 * unit_BTHK


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
    attn_out=WithoutOwnValue(),
)
