"""nGPT with one trained number in place of each trained vector: alpha, s_qk, s_v and s_z; s_u is left out.

Source: arXiv:2410.01131, table 5, all of them scalars: 0.62% more loss. Where each starts and how it is stored stays. A
layer has one number for each of its vectors; that its heads share the one of s_qk is our reading. The paper has a number s_u,
too. The branch that it scales is normed, so it has no effect and no gradient, and Adam would move it by roundings alone.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import swiglu
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import (
    Gate,
    HeadWidthPower,
    NoNorm,
    Part,
    RotateNormScale,
    Scale,
    ScaledLogits,
    SphereStep,
    UnitWeights,
)


@dataclass(frozen=True)
class OneNumber:
    """A part with one number in place of each of its vectors."""

    of: Part

    def build(self, dims: Dims) -> Any:
        module = self.of.build(dims)
        for name, child in module.named_children():
            if isinstance(child, Scale):
                setattr(module, name, _OneNumber(child))
        return module


class _OneNumber(Scale):
    """What forward passes use has the vector's shape, so that all that is made for vectors stays in use."""

    def __init__(self, vector: Scale) -> None:
        super().__init__(1, init=vector.init, scale=vector.scale)
        self.shape = vector.stored.shape

    def effective(self) -> Tensor:
        return super().effective().expand(self.shape)


@dataclass(frozen=True)
class OneNumberSwiGLU:
    """u * SiLU(s_v sqrt(d_model) v), s_v one number."""

    def build(self, dims: Dims) -> Gate:
        return _OneNumberSwiGLU(dims)


class _OneNumberSwiGLU(Gate):
    channelwise = True

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.s_v = Scale(1, init=1.0, scale=1.0)
        self.v_gain = dims.d_model**0.5

    def rows(self, W_u: Tensor, W_v: Tensor) -> tuple[Tensor, Tensor]:
        return W_u, W_v * (self.s_v.effective() * self.v_gain)

    def forward(self, u_BTF: Tensor, v_BTF: Tensor) -> Tensor:
        return swiglu(u_BTF, v_BTF)


METHOD = Parts(
    norm=NoNorm(),
    after_step=UnitWeights(),
    residual=OneNumber(SphereStep(alpha_init=0.05)),
    attn_scale=HeadWidthPower(0.5),
    qk=OneNumber(RotateNormScale()),
    gate=OneNumberSwiGLU(),
    logits=OneNumber(ScaledLogits()),
    weight_decay=0.0,
    warmup_steps=0,
    optimizer=AdamW(),
)
