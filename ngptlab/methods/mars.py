"""The baseline with MARS for its matrices: Adam of gradients that are corrected by their change since the step before.

Source: arXiv:2411.10438 and github.com/AGI-Arena/MARS, its form for AdamW with the last batch's gradient in place of a second
backward pass, which is the one that branch mars of alxndrTL/modded-nanogpt took. Vectors have AdamW, as there.
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
from ngptlab.nn.roles import Role
from ngptlab.nn.updates import OneByOne, State, adam_direction, descend, kept


class Mars(OneByOne):
    """c = g + gamma beta_1 / (1 - beta_1) (g - g_before), no longer than 1; then AdamW of c. g_before is zero at first."""

    def update(self, weight: Tensor, grad: Tensor, state: State, group: dict[str, Any]) -> None:
        before, beta = kept(state, "last_grad", grad), group["betas"][0]
        corrected = grad + group["gamma"] * beta / (1 - beta) * (grad - before)
        corrected /= torch.linalg.matrix_norm(corrected).clamp_min(1.0)
        before.copy_(grad)
        descend(weight, adam_direction(state, corrected, group["betas"], group["eps"]), group)


@dataclass(frozen=True)
class MarsForMatrices(BesideAdamW):
    """MARS for all matrices, AdamW for vectors. The betas are MARS's own; those of the config are AdamW's."""

    gamma: float = 0.025
    betas: tuple[float, float] = (0.95, 0.99)

    name: ClassVar[str] = "MARS"
    roles: ClassVar[tuple[Role, ...]] = tuple(role for role in Role if role is not Role.SCALE)

    def kept(self, shape: Sequence[int]) -> int:
        return 3 * prod(shape)

    def own(self, groups: Groups, config: OptimConfig) -> Mars:
        return Mars(groups, gamma=self.gamma, betas=self.betas, eps=config.eps)


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
    optimizer=MarsForMatrices(),
)
