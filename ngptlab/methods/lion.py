"""The baseline with Lion: the sign of a momentum, at a quarter of AdamW's rate and four times its decay.

Source: arXiv:2302.06675, which asks for a rate 3 to 10 times smaller and a decay as much larger; a quarter is ours.
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
from ngptlab.nn.roles import Role
from ngptlab.nn.updates import OneByOne, State, descend, kept


class Lion(OneByOne):
    """W <- W - lr (sign(beta_1 m + (1 - beta_1) g) + decay W); then m <- beta_2 m + (1 - beta_2) g."""

    def update(self, weight: Tensor, grad: Tensor, state: State, group: dict[str, Any]) -> None:
        momentum, (beta1, beta2) = kept(state, "momentum", grad), group["betas"]
        descend(weight, momentum.lerp(grad, 1 - beta1).sign(), group)
        momentum.lerp_(grad, 1 - beta2)


@dataclass(frozen=True)
class LionForAll(Optimizers):
    """Lion for every parameter. The betas are Lion's own."""

    betas: tuple[float, float] = (0.9, 0.99)
    rate: float = 0.25
    """Factor on the learning rate; decay is divided by it, so that a step decays as much as AdamW's."""

    def kind(self, role: Role) -> str:
        return "Lion"

    def state_values(self, role: Role, shape: Sequence[int]) -> int:
        return prod(shape)

    def lr_factor(self, role: Role) -> float:
        return self.rate

    def decay_factor(self, role: Role) -> float:
        return 1 / self.rate

    def one(self, kind: str, groups: Groups, config: OptimConfig) -> Lion:
        return Lion(groups, betas=self.betas)


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
    optimizer=LionForAll(),
)
