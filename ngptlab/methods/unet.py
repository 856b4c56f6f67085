"""The baseline with skips from each block of the first half to its mirror image in the second, x <- x + w h.

Source: KellerJordan/modded-nanogpt, record 11. Before block L - 1 - i comes what block i gave, times a trained number that
starts at 1. With an odd number of blocks, the one in the middle has no skip.
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
class Skips:
    """x <- x + w (what the mirror image gave), before each block of the second half."""

    weight_init: float = 1.0

    def build(self, dims: Dims) -> Chain:
        half = dims.num_layers // 2
        return _Skips(half, self.weight_init) if half else Chain()


class _Skips(Chain):
    def __init__(self, half: int, weight_init: float) -> None:
        super().__init__()
        self.weights = Scale(half, init=weight_init, scale=weight_init)

    def forward(
        self, h_BTD: Tensor, blocks: Sequence[Callable[[Tensor, Shared], Tensor]], shared: Shared
    ) -> Tensor:
        weights = self.weights.effective().to(h_BTD.dtype)
        given: list[Tensor] = []
        second_half = len(blocks) - len(weights)
        for n, block in enumerate(blocks):
            if n >= second_half:
                h_BTD = h_BTD + weights[n - second_half] * given.pop()
            h_BTD = block(h_BTD, shared)
            if n < len(weights):
                given.append(h_BTD)
        return h_BTD


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
    stream=Skips(),
)
