"""The baseline with a tenth of warm-up and then a learning rate that falls with the logarithm of what is done, fast at first.

Source: arXiv:2608.01284, which has it for its normalized Transformer, known to us from notes alone. After the warm-up, the
learning rate is m + (1 - m) (1 - log(1 + r / rho) / log(1 + 1 / rho)), where r is the fraction of the remaining steps
that is done. The notes don't give rho and m; 0.1 and 0 are ours. This shape takes the place of the config's schedule, its
warm-up and cooldown included.
"""

import math
from dataclasses import dataclass

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.structure import Schedule, When


@dataclass(frozen=True)
class Logarithmic:
    """Linear warm-up over a share of the steps, then the logarithm's fall from 1 to `least`."""

    warmup: float = 0.1
    rho: float = 0.1
    least: float = 0.0

    def build(self, dims: Dims) -> Schedule:
        return _Logarithmic(self)


class _Logarithmic(Schedule):
    own_shape = True

    def __init__(self, shape: Logarithmic) -> None:
        self.shape = shape

    def lr(self, when: When) -> float:
        shape, warmup = self.shape, math.ceil(self.shape.warmup * when.steps)
        if when.step < warmup:
            return (when.step + 1) / warmup
        done = (when.step - warmup) / (when.steps - warmup)
        fallen = math.log(1 + done / shape.rho) / math.log(1 + 1 / shape.rho)
        return shape.least + (1 - shape.least) * (1 - fallen)


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
    schedule=Logarithmic(),
)
