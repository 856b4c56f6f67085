"""The baseline with batches of half the size in the first third of the training, and of one and a half times in the last.

Source: KellerJordan/modded-nanogpt, record 46, with 8, 16 and 24 times 16k tokens, and learning rates times (B / B_0)^0.5 to 0.6.
Here B_0 is `train.batch_size`, so that the middle third is the baseline's, and the exponent is 0.5. The mean is B_0, so that the
whole training meets as many tokens. Compiled, each size is compiled anew, and on CUDA only the first has a graph, so its step
times are no fair ones. karpathy/nanochat tried the same and gave it up, because its script became too complex.
"""

from dataclasses import dataclass

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.structure import Schedule, When


@dataclass(frozen=True)
class ByBatch:
    """A factor (B / B_0)^exponent on the learning rate."""

    exponent: float = 0.5

    def build(self, dims: Dims) -> Schedule:
        return _ByBatch(self.exponent)


class _ByBatch(Schedule):
    def __init__(self, exponent: float) -> None:
        self.exponent = exponent

    def lr(self, when: When) -> float:
        return float(when.batch**self.exponent)


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
    batch_stages=(0.5, 1.0, 1.5),
    schedule=ByBatch(),
)
