"""The baseline in which most blocks see a token and the 63 before it, and every fourth block sees all.

Source: KellerJordan/modded-nanogpt, records 12 and 20, whose windows grow in the course of training, and karpathy/nanochat:
short, short, short, long. Ours don't grow. 64 is ours; nanochat's short window is about a quarter of the context. Its last block
always sees all, and so does ours where the number of blocks is a multiple of four.
"""

from dataclasses import dataclass

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU


@dataclass(frozen=True)
class ShortThenLong:
    """A window of `short` positions, a token's own among them; none in the last of every `period` blocks."""

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
