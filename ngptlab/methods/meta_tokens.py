"""The baseline with 16 learned positions before every text, which all of it attends to.

Source: arXiv:2411.13676 (Hymba); branch metatokens of alxndrTL/modded-nanogpt. Both have 128 of them, before texts of 1,024
tokens and more. 16 is ours, because the contexts compared here are short. They come before the text, not in place of its last
tokens as in the branch. They are drawn as rows of the embedding.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.matrices import matrix
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.roles import Role
from ngptlab.nn.structure import Embed


@dataclass(frozen=True)
class LearnedPositions:
    """So many trained rows before every text."""

    number: int = 16

    def build(self, dims: Dims) -> Embed:
        return _LearnedPositions(self.number, dims)


class _LearnedPositions(Embed):
    roles: ClassVar = {"E_meta": Role.EMBEDDING}

    def __init__(self, number: int, dims: Dims) -> None:
        super().__init__()
        self.prefix, self.E_meta = number, matrix(number, dims.d_model)

    def before(self) -> Tensor:
        return self.E_meta


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
    embed=LearnedPositions(),
)
