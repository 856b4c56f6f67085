"""The baseline in which most blocks see 64 tokens back, and every fourth sees all.

Source: KellerJordan/modded-nanogpt, records 12 and 20, and karpathy/nanochat: short, short, short, long. Its windows grow in the
course of training; these don't.
"""

from dataclasses import dataclass

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU


@dataclass(frozen=True)
class ShortThenLong:
    """A window of `short` positions, but in the last of every `period` blocks."""

    short: int = 64
    period: int = 4

    def build_at(self, dims: Dims, layer: int) -> int | None:
        return None if layer % self.period == self.period - 1 else self.short


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
    mask=ShortThenLong(),
)
