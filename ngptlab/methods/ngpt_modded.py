"""The replication's normalized Transformer: alpha starts at 1/L, one s_qk for all heads, and RoPE comes last.

Source: train_ngpt2.py of alxndrTL/modded-nanogpt. With RoPE last, scores depend on distances only, whatever s_qk learns.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import gain, rotate, unit_norm
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
from ngptlab.nn.rope import Rope, for_heads


@dataclass(frozen=True)
class NormScaleRotate:
    """Unit norm in each head, then s_qk, one vector for all heads of a layer, then RoPE."""

    def build(self, dims: Dims) -> nn.Module:
        return _NormScaleRotate(dims)


class _NormScaleRotate(nn.Module):
    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.s_qk = Scale(dims.d_head, init=1.0, scale=dims.d_model**-0.5)

    def forward(self, q_BTHK: Tensor, k_BTHK: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        s_K = self.s_qk.effective()
        q_BTHK, k_BTHK = (gain(unit_norm(x_BTHK), s_K) for x_BTHK in (q_BTHK, k_BTHK))
        return rotate(q_BTHK, rope), rotate(k_BTHK, for_heads(rope, k_BTHK))


METHOD = Parts(
    norm=NoNorm(),
    after_step=UnitWeights(),
    residual=SphereStep(alpha_init=1.0, depth_power=-1.0),
    attn_scale=HeadWidthPower(0.5),
    qk=NormScaleRotate(),
    gate=ScaledSwiGLU(),
    logits=ScaledLogits(),
    weight_decay=0.0,
    warmup_steps=0,
    optimizer=AdamW(),
)
