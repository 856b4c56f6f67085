"""The baseline whose blocks mix the first block's values into their own, v <- (1 - lambda) v + lambda v_1.

Source: arXiv:2410.17897; KellerJordan/modded-nanogpt, record 9, for lambda as one trained number a block, which starts at 0.5.
v_1 are the first block's values as projected.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, Scale, SwiGLU
from ngptlab.nn.shared import Shared


@dataclass(frozen=True)
class FirstValues:
    """(1 - lambda) v + lambda v_1; the first block has its own values alone."""

    mix_init: float = 0.5

    def build_at(self, dims: Dims, layer: int) -> nn.Module | None:
        return _FirstValues(self.mix_init) if layer else None


class _FirstValues(nn.Module):
    def __init__(self, mix_init: float) -> None:
        super().__init__()
        self.mix = Scale(1, init=mix_init, scale=mix_init)

    def forward(self, v_BTHK: Tensor, h_BTD: Tensor, shared: Shared) -> Tensor:
        assert shared.v1_BTHK is not None
        return torch.lerp(v_BTHK, shared.v1_BTHK, self.mix.effective().to(v_BTHK.dtype))


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
    value=FirstValues(),
)
