"""The baseline beside which a mean of its weights is kept and measured, one that forgets what is some 200 updates old.

Source: epfml/llm-optimizer-benchmark (arXiv:2509.01440), whose mean takes in the weights every 10 updates with a decay of 0.95.
Ours does so at every update with 0.995, which reaches as far back. Until then it is the plain mean of all updates, so that it
does not lean towards the start. The weights are trained, measured and saved as the baseline's are. Validations of the mean stand
beside theirs in `evals.jsonl`, as `val_average`. karpathy/nanochat saw no gain.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU


@dataclass(frozen=True)
class Exponential:
    """The mean keeps `decay` of itself; less while it has few updates, of which each then counts alike."""

    decay: float = 0.995

    def build(self, dims: Dims) -> Callable[[int], float]:
        return self._stays

    def _stays(self, updates: int) -> float:
        return min(self.decay, 1 - 1 / updates)


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
    average=Exponential(),
)
