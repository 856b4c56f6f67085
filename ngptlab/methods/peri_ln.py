"""The baseline with a norm after each branch too, h + Norm(f(Norm(h))).

Source: arXiv:2502.02732 (Peri-LN), without gains, and without its norm of the embedding.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import rms_norm
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU


@dataclass(frozen=True)
class AddNormed:
    """h + Norm(branch)."""

    def build(self, dims: Dims) -> nn.Module:
        return _AddNormed()


class _AddNormed(nn.Module):
    def forward(self, h_BTD: Tensor, branch_BTD: Tensor) -> Tensor:
        return h_BTD + rms_norm(branch_BTD)


METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=AddNormed(),
    attn_scale=HeadWidthPower(-0.5),
    qk=Rotate(),
    gate=SwiGLU(),
    logits=PlainLogits(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=AdamW(),
)
