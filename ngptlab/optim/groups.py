"""Parameters to optimizer groups by role, each parameter in exactly one; and AdamW over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ngptlab.config import OptimConfig
from ngptlab.nn.roles import Role, role


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate and a decay."""

    name: str
    roles: tuple[Role, ...]
    lr: float
    weight_decay: float


def groups(config: OptimConfig) -> tuple[Group, ...]:
    """The table: matrices decay, vectors do not, all have the same learning rate."""
    assert config.weight_decay is not None, "methods.resolve comes first"
    matrices = (Role.EMBEDDING, Role.UNEMBEDDING, Role.READER, Role.WRITER)
    return (
        Group("matrices", matrices, config.lr, config.weight_decay),
        Group("scales", (Role.SCALE,), config.lr, 0.0),
    )


def adamw(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the model's groups, fused where torch has it. Each torch group keeps its peak as `peak_lr`."""
    named = list(model.named_parameters())
    param_groups = []
    members_seen = 0
    for group in groups(config):
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
