"""The baseline whose attention is gated by what it reads, o * sigmoid(W_g h), before W_o.

Source: arXiv:2505.06708, the gate after attention, one for each channel of each head. h is the normed stream, as for queries.
W_g is drawn as every matrix that reads the stream. It comes on top of the baseline's weights.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import linear
from ngptlab.nn.matrices import matrix
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.roles import Role


@dataclass(frozen=True)
class SigmoidGate:
    """o * sigmoid(W_g h)."""

    def build(self, dims: Dims) -> nn.Module:
        return _SigmoidGate(dims)


class _SigmoidGate(nn.Module):
    roles: ClassVar = {"W_g": Role.READER}

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        self.W_g = matrix(dims.d_model, dims.d_model)

    def forward(self, o_BTHK: Tensor, v_BTHK: Tensor, h_BTD: Tensor) -> Tensor:
        return o_BTHK * torch.sigmoid(linear(h_BTD, self.W_g)).view(o_BTHK.shape)


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
    attn_out=SigmoidGate(),
)
