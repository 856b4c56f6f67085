"""The baseline in which every block is given the embedding again, x <- lambda_r x + lambda_0 x0.

Source: KellerJordan/modded-nanogpt, record 9, with the start values of karpathy/nanochat: lambda_r from 1.15 to 1.05 and lambda_0
from 0.2 to 0.05 over the depth. x0 is the normed embedding, which is also what the stream begins with. What is trained are
factors on both, 1 at first (ours). That on lambda_r learns at a hundredth of the learning rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import rms_norm
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, Scale, SwiGLU
from ngptlab.nn.shared import Shared
from ngptlab.nn.structure import Chain


@dataclass(frozen=True)
class EmbeddingAgain:
    """x <- lambda_r x + lambda_0 x0 before each block, each lambda what it starts at times a trained number."""

    stream_first: float = 1.15
    stream_last: float = 1.05
    x0_first: float = 0.2
    x0_last: float = 0.05

    def build(self, dims: Dims) -> Chain:
        return _EmbeddingAgain(self, dims.num_layers)


class _EmbeddingAgain(Chain):
    def __init__(self, starts: EmbeddingAgain, layers: int) -> None:
        super().__init__()
        done = [layer / max(1, layers - 1) for layer in range(layers)]
        self.stream_starts = [(1 - d) * starts.stream_first + d * starts.stream_last for d in done]
        self.x0_starts = [(1 - d) * starts.x0_first + d * starts.x0_last for d in done]
        self.stream_factor = Scale(layers, init=1.0, scale=100.0)
        self.x0_factor = Scale(layers, init=1.0, scale=1.0)

    def forward(
        self, h_BTD: Tensor, blocks: Sequence[Callable[[Tensor, Shared], Tensor]], shared: Shared
    ) -> Tensor:
        h_BTD = x0_BTD = rms_norm(h_BTD)
        stream, x0 = (factor.effective().to(h_BTD.dtype) for factor in (self.stream_factor, self.x0_factor))
        for n, block in enumerate(blocks):
            lambda_r, lambda_0 = self.stream_starts[n] * stream[n], self.x0_starts[n] * x0[n]
            h_BTD = block(lambda_r * h_BTD + lambda_0 * x0_BTD, shared)
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
    stream=EmbeddingAgain(),
)
