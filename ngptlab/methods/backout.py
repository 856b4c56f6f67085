"""The baseline that takes a part of the stream's middle out again before the last norm, h - lambda h_mid.

Source: KellerJordan/modded-nanogpt, record 40: what earlier blocks write for later ones need not reach the head. lambda is one
trained number and starts at 0.5 (0.2 in karpathy/nanochat). h_mid is the stream after block L // 2, counted from 0, as in
nanochat; the record takes it after the ninth of twelve blocks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, Scale, SwiGLU
from ngptlab.nn.shared import Shared
from ngptlab.nn.structure import Chain


@dataclass(frozen=True)
class MiddleOut:
    """h - lambda h_mid after all blocks."""

    share_init: float = 0.5

    def build(self, dims: Dims) -> Chain:
        return _MiddleOut(self.share_init)


class _MiddleOut(Chain):
    def __init__(self, share_init: float) -> None:
        super().__init__()
        self.share = Scale(1, init=share_init, scale=share_init)

    def forward(
        self, h_BTD: Tensor, blocks: Sequence[Callable[[Tensor, Shared], Tensor]], shared: Shared
    ) -> Tensor:
        through = len(blocks) // 2 + 1
        middle_BTD = super().forward(h_BTD, blocks[:through], shared)
        h_BTD = super().forward(middle_BTD, blocks[through:], shared)
        return h_BTD - self.share.effective().to(h_BTD.dtype) * middle_BTD


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
    stream=MiddleOut(),
)
