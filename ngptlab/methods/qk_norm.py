"""The baseline with normed queries and keys, which bounds attention scores and allows larger learning rates.

Source: arXiv:2010.04245 and arXiv:2302.05442, in the gainless RMS form that modded-nanogpt and nanochat use.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import rms_norm, rotate
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, SwiGLU
from ngptlab.nn.rope import Rope


@dataclass(frozen=True)
class NormRotate:
    """RMS norm in each head, then RoPE."""

    def build(self, dims: Dims) -> nn.Module:
        return _NormRotate()


class _NormRotate(nn.Module):
    def forward(self, q_BTHK: Tensor, k_BTHK: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        return rotate(rms_norm(q_BTHK), rope), rotate(rms_norm(k_BTHK), rope)


METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=HeadWidthPower(-0.5),
    qk=NormRotate(),
    gate=SwiGLU(),
    logits=PlainLogits(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=AdamW(),
)
