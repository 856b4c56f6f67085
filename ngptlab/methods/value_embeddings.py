"""The baseline with a second embedding table that adds to the values of every second block, gated by head.

Source: KellerJordan/modded-nanogpt, records 14 and 55: v <- v + 2 sigmoid(W_g h[:12]) VE[token], where W_g starts at zero and the
gate at 1; and karpathy/nanochat for every second block, with a factor of 3. Each such block has a table of its own, so the method
has more weights than the baseline. nanochat counts blocks from the last one, which is the same where their number is even.
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
from ngptlab.nn.shared import Shared


@dataclass(frozen=True)
class ValueTable:
    """v + 2 sigmoid(W_g h[:read]) VE[token] in every second block, beginning with the second."""

    read: int = 12

    def build_at(self, dims: Dims, layer: int) -> nn.Module | None:
        return _ValueTable(dims, min(self.read, dims.d_model)) if layer % 2 else None


class _ValueTable(nn.Module):
    roles: ClassVar = {"E_v": Role.EMBEDDING, "W_g": Role.INNER}
    starts_at_zero = ("W_g",)

    def __init__(self, dims: Dims, read: int) -> None:
        super().__init__()
        self.read = read
        self.E_v, self.W_g = matrix(dims.vocab_size, dims.d_model), matrix(dims.num_heads, read)

    def forward(self, v_BTHK: Tensor, h_BTD: Tensor, shared: Shared) -> Tensor:
        gate_BTH1 = 2 * torch.sigmoid(linear(h_BTD[..., : self.read], self.W_g)).unsqueeze(-1)
        return v_BTHK + gate_BTH1 * shared.rows(self.E_v).view(v_BTHK.shape)


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
    value=ValueTable(),
)
