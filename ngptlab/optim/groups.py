"""Parameters to optimizer groups by role, each parameter in exactly one; and AdamW over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ngptlab.config import OptimConfig
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.roles import Role, role
from ngptlab.param.rules import Rules, sp


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate and a decay."""

    name: str
    roles: tuple[Role, ...]
    lr: float
    weight_decay: float


def groups(config: OptimConfig, rules: Rules | None = None) -> tuple[Group, ...]:
    """Matrices decay, vectors do not; rates and decay are the config's times the rules' factors (default: SP, all 1).

    Roles with equal numbers share a group.
    """
    assert config.weight_decay is not None, "methods.resolve comes first"
    by_role = (rules or sp()).by_role
    members: dict[tuple[bool, float, float], list[Role]] = {}
    for kind in Role:
        decays = kind is not Role.SCALE
        lr = config.lr * by_role[kind].lr
        decay = config.weight_decay * by_role[kind].weight_decay if decays else 0.0
        members.setdefault((decays, lr, decay), []).append(kind)
    return tuple(Group(_name(kinds), tuple(kinds), lr, decay) for (_, lr, decay), kinds in members.items())


def _name(kinds: list[Role]) -> str:
    if Role.SCALE in kinds:
        return "scales"
    return "matrices" if len(kinds) == len(Role) - 1 else "+".join(kinds)


def adamw(model: nn.Module, config: OptimConfig, rules: Rules | None = None) -> torch.optim.AdamW:
    """AdamW over the model's groups, fused where torch has it. Each torch group keeps its peak as `peak_lr`.

    `rules` are those that the model was built by; without them, SP.
    """
    if isinstance(model, Decoder):
        applied = rules or sp()
        same = (model.hidden_divisor, model.std_factors) == (applied.hidden_divisor, applied.std_factors)
        assert same, "the model was built by other rules of parametrization"
    named = list(model.named_parameters())
    param_groups = []
    members_seen = 0
    for group in groups(config, rules):
        members = [parameter for name, parameter in named if role(name) in group.roles]
        members_seen += len(members)
        if members:
            param_groups.append(
                {
                    "params": members,
                    "name": group.name,
                    "peak_lr": group.lr,
                    "lr": group.lr,
                    "weight_decay": group.weight_decay,
                }
            )
    assert members_seen == len(named), "every parameter in exactly one group"
    fused = all(parameter.device.type in ("cpu", "cuda") for _, parameter in named)
    return torch.optim.AdamW(param_groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=fused)


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every group's learning rate to `factor` times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
