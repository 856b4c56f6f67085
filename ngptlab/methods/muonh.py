"""The baseline with Muon whose blocks' matrices keep the norm they started with, and no decay.

Source: arXiv:2606.16899 (MuonH), as pull request 267 of KellerJordan/modded-nanogpt has it. Ours are the factor of 10 on the rate
of matrices, which makes one learning rate fit all, and the free steps of matrices that start at zero (nn/hyperball.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from torch import Tensor

from ngptlab.config import OptimConfig
from ngptlab.nn.decoder import Parts
from ngptlab.nn.hyperball import OnHyperballs, turn
from ngptlab.nn.optimizers import Groups
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.updates import NEWTON_SCHULZ, OneByOne, State, nesterov, orthogonalize


class MuonH(OneByOne):
    """W <- R normalize(W - lr R u / |u|), u Muon's direction."""

    def update(self, weight: Tensor, grad: Tensor, state: State, group: dict[str, Any]) -> None:
        turn(
            weight, orthogonalize(nesterov(state, grad, group["momentum"]), NEWTON_SCHULZ), state, group["lr"]
        )


@dataclass(frozen=True)
class MuonHInBlocks(OnHyperballs):
    """MuonH for the matrices of blocks, AdamW for the rest."""

    momentum: float = 0.95

    name: ClassVar[str] = "MuonH"

    def kept(self, shape: Sequence[int]) -> int:
        return prod(shape)

    def own(self, groups: Groups, config: OptimConfig) -> MuonH:
        return MuonH(groups, momentum=self.momentum)


METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=HeadWidthPower(-0.5),
    qk=Rotate(),
    gate=SwiGLU(),
    logits=PlainLogits(),
    weight_decay=0.0,
    warmup_steps=200,
    optimizer=MuonHInBlocks(),
)
