"""The baseline whose weight decay falls to zero in a line over the training.

Source: karpathy/nanochat, whose log of January 2026 has it for Muon's matrices, and found it better than a constant one.
Here AdamW's matrices have it. A step decays by the product of learning rate and decay, so that in a cooldown both fall.
"""

from dataclasses import dataclass

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.structure import Schedule, When


@dataclass(frozen=True)
class Fading:
    """A factor 1 - step / steps on the decay."""

    def build(self, dims: Dims) -> Schedule:
        return _Fading()


class _Fading(Schedule):
    def decay(self, when: When) -> float:
        return 1 - when.step / when.steps


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
    schedule=Fading(),
)
