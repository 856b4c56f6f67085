"""The baseline with NorMuon for its blocks: Muon whose updates have rows of one size, as they are over time.

Source: arXiv:2510.05491 and github.com/zichongli5/NorMuon; orthogonal by Polar Express (arXiv:2505.16932), as in
KellerJordan/modded-nanogpt. Updates have AdamW's size (arXiv:2502.16982), as Muon's have here, so that one rate serves all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ngptlab.config import OptimConfig
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import BesideAdamW, Groups
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.updates import (
    POLAR_EXPRESS,
    OneByOne,
    State,
    descend,
    kept,
    nesterov,
    orthogonalize,
    size_of_adamw,
)

TINY = 1e-10
"""The source's floor of a row's size: rows that never had a gradient stay at zero."""


class NorMuon(OneByOne):
    """U orthogonal, s a running mean of U^2 over each row; W moves by U / sqrt(s), brought back to the norm that U had."""

    def update(self, weight: Tensor, grad: Tensor, state: State, group: dict[str, Any]) -> None:
        orthogonal = orthogonalize(nesterov(state, grad, group["momentum"]), POLAR_EXPRESS)
        square = orthogonal.square().mean(dim=1, keepdim=True)
        rows = kept(state, "row_squares", square).lerp_(square, 1 - group["beta2"])
        even = orthogonal / (rows.sqrt() + TINY)
        norm, norm_before = torch.linalg.matrix_norm(even), torch.linalg.matrix_norm(orthogonal)
        descend(weight, even * (size_of_adamw(weight) * norm_before / (norm + TINY)), group)


@dataclass(frozen=True)
class NorMuonInBlocks(BesideAdamW):
    """NorMuon for the matrices of blocks, AdamW for the rest."""

    momentum: float = 0.95
    beta2: float = 0.95

    name: ClassVar[str] = "NorMuon"

    def kept(self, shape: Sequence[int]) -> int:
        return prod(shape) + shape[0]

    def own(self, groups: Groups, config: OptimConfig) -> NorMuon:
        return NorMuon(groups, momentum=self.momentum, beta2=self.beta2)


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
    optimizer=NorMuonInBlocks(),
)
