"""The baseline on short sequences first: the context grows from 8 tokens to the whole over 80% of the training.

Source: arXiv:2108.06084; branch slw of alxndrTL/modded-nanogpt. Both drop what is beyond the length, and grow it in steps of 8.
Here each sequence is cut into pieces, so that every update has the same tokens as the baseline's. Hence a length is a divisor of
the context. Compiled, each length is compiled anew, and on CUDA only the first has a graph, so its step times are no fair ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU


@dataclass(frozen=True)
class Growing:
    """The largest divisor of the context that is not above a line from `first` to the whole over a part of the steps."""

    first: int = 8
    until: float = 0.8

    def build(self, dims: Dims) -> Callable[[int, int, int], int]:
        return self._length

    def _length(self, step: int, steps: int, context: int) -> int:
        done = min(1.0, step / (self.until * steps))
        longest = self.first + done * (context - self.first)
        return max(length for length in _divisors(context) if length <= longest)


@cache  # asked for at every step of a training, and for all of them before it begins
def _divisors(context: int) -> tuple[int, ...]:
    return tuple(length for length in range(1, context + 1) if context % length == 0)


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
    context=Growing(),
)
