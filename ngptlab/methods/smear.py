"""The baseline that adds a gated part of the token before to each token's embedding, x_t + lambda sigmoid(w . x_t[:12]) x_(t-1).

Source: KellerJordan/modded-nanogpt, record 34. lambda is one trained number and starts at 0; w starts at zero. The first token
has nothing before it. There the sum is normed afterwards; here it isn't, because the baseline has no norm after its embedding.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, Scale, SwiGLU
from ngptlab.nn.shared import Shared, previous
from ngptlab.nn.structure import Embed


@dataclass(frozen=True)
class Smear:
    """x_t + lambda sigmoid(w . x_t[:read]) x_(t-1)."""

    read: int = 12

    def build(self, dims: Dims) -> Embed:
        return _Smear(min(self.read, dims.d_model))


class _Smear(Embed):
    looks_back = True

    def __init__(self, read: int) -> None:
        super().__init__()
        self.read = read
        self.share, self.gate = Scale(1, init=0.0, scale=1.0), Scale(read, init=0.0, scale=1.0)

    def forward(self, h_BTD: Tensor, shared: Shared) -> Tensor:
        before_BTD = previous(h_BTD, shared.cache, "smear")
        gate_BT1 = torch.sigmoid((h_BTD[..., : self.read] * self.gate.effective()).sum(-1, keepdim=True))
        return h_BTD + (self.share.effective() * gate_BT1 * before_BTD).to(h_BTD.dtype)


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
    embed=Smear(),
)
