"""nGPT with s_qk, s_u and s_v fixed at 1 instead of trained; alpha and s_z stay trained.

Source: arXiv:2410.01131, table 5, both "s_qk fixed at 1" and "s_u and s_v fixed at 1": 0.20% more loss. The factors that
come with them stay: sqrt(d_head) on scores, sqrt(d_model) on v.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import rotate, swiglu, unit_norm
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Gate, HeadWidthPower, NoNorm, ScaledLogits, SphereStep, UnitWeights
from ngptlab.nn.precision import wide
from ngptlab.nn.rope import Rope, for_heads


@dataclass(frozen=True)
class RotateNorm:
    """RoPE and unit norm in each head. A turn keeps norms, so their order does not matter."""

    def build(self, dims: Dims) -> nn.Module:
        return _RotateNorm()


class _RotateNorm(nn.Module):
    def forward(self, q_BTHK: Tensor, k_BTHK: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        return rotate(unit_norm(q_BTHK), rope), rotate(unit_norm(k_BTHK), for_heads(rope, k_BTHK))


@dataclass(frozen=True)
class UnitVarianceSwiGLU:
    """u * SiLU(sqrt(d_model) v): sqrt(d_model) brings v to unit variance."""

    def build(self, dims: Dims) -> Gate:
        return _UnitVarianceSwiGLU(dims)


class _UnitVarianceSwiGLU(Gate):
    channelwise = True

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.v_gain = dims.d_model**0.5

    def rows(self, W_u: Tensor, W_v: Tensor) -> tuple[Tensor, Tensor]:
        return W_u, wide(W_v) * self.v_gain

    def forward(self, u_BTF: Tensor, v_BTF: Tensor) -> Tensor:
        return swiglu(u_BTF, v_BTF)


METHOD = Parts(
    norm=NoNorm(),
    after_step=UnitWeights(),
    residual=SphereStep(alpha_init=0.05),
    attn_scale=HeadWidthPower(0.5),
    qk=RotateNorm(),
    gate=UnitVarianceSwiGLU(),
    logits=ScaledLogits(),
    weight_decay=0.0,
    warmup_steps=0,
    optimizer=AdamW(),
)
