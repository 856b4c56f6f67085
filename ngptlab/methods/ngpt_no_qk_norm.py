"""nGPT without the norm of queries and keys: they are turned and multiplied by s_qk as they come.

Source: arXiv:2410.01131, section 2.6, step 4, where the norm is optional and s_qk is not, and table 6: 0.12% more loss. It
names no other change, so scores are multiplied by sqrt(d_head) here, too. They then start at about 1 / num_heads of nGPT's,
because each channel of a query or a key is a product of two unit vectors.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import gain, rotate
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import (
    HeadWidthPower,
    NoNorm,
    Scale,
    ScaledLogits,
    ScaledSwiGLU,
    SphereStep,
    UnitWeights,
)
from ngptlab.nn.rope import Rope


@dataclass(frozen=True)
class RotateScale:
    """RoPE, then s_qk, one vector a head."""

    def build(self, dims: Dims) -> nn.Module:
        return _RotateScale(dims)


class _RotateScale(nn.Module):
    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.s_qk = Scale(dims.num_heads, dims.d_head, init=1.0, scale=dims.d_model**-0.5)

    def forward(self, q_BTHK: Tensor, k_BTHK: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        s_HK = self.s_qk.effective()
        return gain(rotate(q_BTHK, rope), s_HK), gain(rotate(k_BTHK, rope), s_HK)


METHOD = Parts(
    norm=NoNorm(),
    after_step=UnitWeights(),
    residual=SphereStep(alpha_init=0.05),
    attn_scale=HeadWidthPower(0.5),
    qk=RotateScale(),
    gate=ScaledSwiGLU(),
    logits=ScaledLogits(),
    weight_decay=0.0,
    warmup_steps=0,
    optimizer=AdamW(),
)
