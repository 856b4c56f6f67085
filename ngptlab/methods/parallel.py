"""The baseline whose two branches read the same hidden state, h + attn(Norm h) + mlp(Norm h).

Source: GPT-J (github.com/kingoflolz/mesh-transformer-jax) and PaLM (arXiv:2204.02311), with one norm for both branches.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.blocks import Block
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.shared import Shared


@dataclass(frozen=True)
class Parallel:
    """Both branches from one norm of the stream."""

    def build(self, dims: Dims, parts: Parts, layer: int) -> nn.Module:
        return _Parallel(dims, parts, layer)


class _Parallel(Block):
    def __init__(self, dims: Dims, parts: Parts, layer: int) -> None:
        super().__init__(dims, parts, layer)
        del self.mlp_norm  # there is one norm; a second one's scales would be there without a gradient

    def forward(self, h_BTD: Tensor, shared: Shared) -> Tensor:
        normed_BTD = self.attn_norm(h_BTD)
        attn_BTD, mlp_BTD = self.attn(normed_BTD, shared), self.mlp(normed_BTD)
        return self.mlp_residual(self.attn_residual(h_BTD, attn_BTD), mlp_BTD)  # type: ignore[no-any-return]


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
    block=Parallel(),
)
