"""What the seam `optimizer` holds: which optimizer moves the parameters of a role, and factors on its learning rate and decay.

Everything else that decides an update (learning rate, decay, AdamW's betas) comes from the config and the parametrization.
Building blocks of a method's own optimizer are in `nn/updates.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import torch

from ngptlab.config import Dims, OptimConfig
from ngptlab.nn.roles import Role

Groups = list[dict[str, Any]]
"""Parameter groups as torch's optimizers take them."""

ADAMW = "AdamW"
"""The kind of roles that AdamW moves."""


class Optimizers(ABC):
    """What the seam builds. A record of a method's own optimizers is a frozen subclass."""

    adam_only: ClassVar[bool] = False
    """Whether every update is AdamW's. Rules of parametrization and stacks of models are made for AdamW alone."""

    def build(self, dims: Dims) -> Optimizers:
        return self

    @abstractmethod
    def kind(self, role: Role) -> str:
        """Name of the optimizer that moves the parameters of a role. Roles of different kinds never share a group."""

    @abstractmethod
    def state_values(self, role: Role, shape: Sequence[int]) -> int:
        """Number of values kept between steps for one parameter. Single numbers such as a count of steps are left out."""

    @abstractmethod
    def one(self, kind: str, groups: Groups, config: OptimConfig) -> torch.optim.Optimizer:
        """The optimizer of a kind over its groups."""

    def talks(self, role: Role) -> bool:
        """Whether every process of a run has to make all updates of a role, because they talk to each other, or because the
        update of one parameter looks at another one."""
        return False

    def lr_factor(self, role: Role) -> float:
        """Factor on the learning rate of a role."""
        return 1.0

    def decay_factor(self, role: Role) -> float:
        """Factor on the weight decay of a role; a step multiplies the decay by the learning rate."""
        return 1.0

    def make(self, groups: dict[str, Groups], config: OptimConfig) -> torch.optim.Optimizer:
        """The optimizer of a model, from its groups by kind."""
        kinds = sorted(groups, key=lambda kind: kind == ADAMW)  # AdamW last
        parts = [self.one(kind, groups[kind], config) for kind in kinds]
        return parts[0] if len(parts) == 1 else Several(parts)


@dataclass(frozen=True)
class AdamW(Optimizers):
    """AdamW for every parameter (arXiv:1711.05101)."""

    adam_only: ClassVar[bool] = True

    def kind(self, role: Role) -> str:
        return ADAMW

    def state_values(self, role: Role, shape: Sequence[int]) -> int:
        return 2 * prod(shape)

    def one(self, kind: str, groups: Groups, config: OptimConfig) -> torch.optim.Optimizer:
        return adamw(groups, config)


class BesideAdamW(Optimizers):
    """An optimizer for the matrices of blocks; AdamW for embedding, head and scales."""

    name: ClassVar[str]
    """Name of the optimizer, which no other kind has."""
    roles: ClassVar[tuple[Role, ...]] = (Role.READER, Role.WRITER, Role.INNER)
    """Roles that the optimizer moves."""

    def kind(self, role: Role) -> str:
        return self.name if role in self.roles else ADAMW

    def state_values(self, role: Role, shape: Sequence[int]) -> int:
        return self.kept(shape) if role in self.roles else 2 * prod(shape)

    def one(self, kind: str, groups: Groups, config: OptimConfig) -> torch.optim.Optimizer:
        return self.own(groups, config) if kind == self.name else adamw(groups, config)

    @abstractmethod
    def kept(self, shape: Sequence[int]) -> int:
        """As `state_values`, for what the method's own optimizer moves."""

    @abstractmethod
    def own(self, groups: Groups, config: OptimConfig) -> torch.optim.Optimizer:
        """The method's own optimizer."""


@dataclass(frozen=True)
class MuonInBlocks(BesideAdamW):
    """Muon for the matrices of blocks, AdamW for embedding, head and scales (github.com/KellerJordan/Muon).

    An update of a matrix is its momentum, made orthogonal by steps of Newton and Schulz in bfloat16. It is scaled to the
    root mean square that AdamW's updates have, 0.2, so that both take one learning rate (arXiv:2502.16982, section 2.2).
    """

    momentum: float = 0.95
    ns_steps: int = 5

    name: ClassVar[str] = "Muon"

    def kept(self, shape: Sequence[int]) -> int:
        return prod(shape)

    def own(self, groups: Groups, config: OptimConfig) -> torch.optim.Optimizer:
        return torch.optim.Muon(
            groups,
            lr=config.lr,
            momentum=self.momentum,
            nesterov=True,
            ns_steps=self.ns_steps,
            adjust_lr_fn="match_rms_adamw",
        )


def adamw(groups: Groups, config: OptimConfig) -> torch.optim.Optimizer:
    """torch's AdamW, fused where torch has a fused form."""
    places = {parameter.device.type for group in groups for parameter in group["params"]}
    fused = places <= {"cpu", "cuda"}
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)


class Several(torch.optim.Optimizer):
    """Optimizers that step together: one list of groups and one state, so that whoever saves or schedules sees one."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update by each optimizer. There may be no closure, though torch's signature has one."""
        assert closure is None
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As in torch; then the optimizers share the loaded groups and state."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        first = 0
        for part in self.parts:
            count = len(part.param_groups)
            part.param_groups = self.param_groups[first : first + count]
            part.state = self.state
            first += count
