"""The baseline with decay of those entries alone that AdamW moves towards zero anyway.

Source: arXiv:2510.12402 (cautious weight decay); the strict inequality is KellerJordan/modded-nanogpt's, so that an entry whose
update is zero does not decay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from ngptlab.config import OptimConfig
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import Groups, Optimizers
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.precision import wide
from ngptlab.nn.roles import Role
from ngptlab.nn.updates import OneByOne, State, adam_direction


class CautiousAdamW(OneByOne):
    """W <- W - lr (u + decay W [u W > 0]), u Adam's direction."""

    def update(self, weight: Tensor, grad: Tensor, state: State, group: dict[str, Any]) -> None:
        direction = adam_direction(state, grad, group["betas"], group["eps"])
        decayed = wide(weight) * (direction * weight > 0)
        weight.sub_(group["lr"] * (direction + group["weight_decay"] * decayed))


@dataclass(frozen=True)
class CautiousDecay(Optimizers):
    """AdamW with cautious decay for every parameter; vectors don't decay, as ever."""

    def kind(self, role: Role) -> str:
        return "CautiousAdamW"

    def state_values(self, role: Role, shape: Sequence[int]) -> int:
        return 2 * prod(shape)

    def one(self, kind: str, groups: Groups, config: OptimConfig) -> CautiousAdamW:
        return CautiousAdamW(groups, betas=config.betas, eps=config.eps)


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
    optimizer=CautiousDecay(),
)
