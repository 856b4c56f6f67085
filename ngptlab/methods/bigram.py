"""The baseline with a second embedding table for pairs of tokens, found by a hash, x_t + lambda E_pair[hash(x_t, x_(t-1))].

Source: KellerJordan/modded-nanogpt, record 62: row (36313 x_t xor 27191 x_(t-1)) mod (5 V - 1) of 5 V rows, of which the last
is for the first token. The table starts at zero; lambda is one trained number and starts at 0.1. There it is added before every
block, each time with a lambda of its own; here once. The method has 5 V d_model weights more than the baseline, and no more
products of matrices.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.matrices import matrix
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, Scale, SwiGLU
from ngptlab.nn.roles import Role
from ngptlab.nn.shared import Shared, previous
from ngptlab.nn.structure import Embed


@dataclass(frozen=True)
class PairTable:
    """h + lambda E_pair[hash of the token and the one before it]; the table has `times` V rows."""

    times: int = 5
    share_init: float = 0.1

    def build(self, dims: Dims) -> Embed:
        return _PairTable(dims, self.times * dims.vocab_size, self.share_init)


class _PairTable(Embed):
    roles: ClassVar = {"E_pair": Role.EMBEDDING}
    starts_at_zero = ("E_pair",)
    looks_back = True

    def __init__(self, dims: Dims, rows: int, share_init: float) -> None:
        super().__init__()
        self.E_pair = matrix(rows, dims.d_model)
        self.share = Scale(1, init=share_init, scale=share_init)

    def forward(self, h_BTD: Tensor, shared: Shared) -> Tensor:
        # Tokens count from 1 here, because 0 stands before the first.
        before_BT = previous(shared.tokens_BT + 1, shared.cache, "bigram")
        last = len(self.E_pair) - 1
        hash_BT = torch.bitwise_xor(36313 * shared.tokens_BT, 27191 * (before_BT - 1)) % last
        row_BT = torch.where(before_BT == 0, last, hash_BT)
        pair_BTD = F.embedding(row_BT, self.E_pair)
        return h_BTD + (self.share.effective() * pair_BTD).to(h_BTD.dtype)


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
    embed=PairTable(),
)
