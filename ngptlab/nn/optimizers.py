"""What the seam `optimizer` holds: which optimizer moves the parameters of a role.

Everything else that decides an update (rates, decay, betas) is the config's and the parametrization's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch

from ngptlab.config import Dims, OptimConfig
from ngptlab.nn.roles import Role

Groups = list[dict[str, Any]]
"""Parameter groups as torch's optimizers take them."""


class Optimizers(Protocol):
    """What the seam builds."""

    @property
    def adam_only(self) -> bool:
        """Whether every update is AdamW's, which rules of parametrization and stacks of models are made for."""
        ...

    def kind(self, role: Role) -> str:
        """A word for the roles that move alike. Roles of different kinds never share a group."""
        ...

    def state_values(self, role: Role) -> int:
        """Values kept from step to step for each value of a parameter."""
        ...

    def make(self, groups: dict[str, Groups], config: OptimConfig) -> torch.optim.Optimizer:
        """The optimizer of a model, from its groups by kind."""
        ...


@dataclass(frozen=True)
class AdamW:
    """AdamW for every parameter (arXiv:1711.05101)."""

    adam_only: ClassVar[bool] = True

    def build(self, dims: Dims) -> Optimizers:
        return self

    def kind(self, role: Role) -> str:
        return "all"

    def state_values(self, role: Role) -> int:
        return 2

    def make(self, groups: dict[str, Groups], config: OptimConfig) -> torch.optim.Optimizer:
        return _adamw(groups["all"], config)


@dataclass(frozen=True)
class MuonInBlocks:
    """Muon for the matrices of blocks, AdamW for embedding, head and scales (github.com/KellerJordan/Muon).

    An update of a matrix is its momentum, made orthogonal by steps of Newton and Schulz in bfloat16. It is scaled to the
    root mean square that AdamW's updates have, 0.2, so that both take one learning rate (arXiv:2502.16982, section 2.2).
    """

    momentum: float = 0.95
    ns_steps: int = 5

    adam_only: ClassVar[bool] = False

    def build(self, dims: Dims) -> Optimizers:
        return self

    def kind(self, role: Role) -> str:
        return "blocks" if role in (Role.READER, Role.WRITER, Role.INNER) else "rest"

    def state_values(self, role: Role) -> int:
        return 1 if self.kind(role) == "blocks" else 2

    def make(self, groups: dict[str, Groups], config: OptimConfig) -> torch.optim.Optimizer:
        in_blocks = torch.optim.Muon(
            groups["blocks"],
            lr=config.lr,
            momentum=self.momentum,
            nesterov=True,
            ns_steps=self.ns_steps,
            adjust_lr_fn="match_rms_adamw",
        )
        return Several([in_blocks, _adamw(groups["rest"], config)])


def _adamw(groups: Groups, config: OptimConfig) -> torch.optim.Optimizer:
    """Fused where torch has it."""
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
        """One update by each; a closure, for which torch's signature has room, is not for several."""
        assert closure is None
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch has it."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        first = 0
        for part in self.parts:
            count = len(part.param_groups)
            part.param_groups = self.param_groups[first : first + count]
            part.state = self.state
            first += count
