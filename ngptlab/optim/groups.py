"""Parameter groups by role, each parameter in exactly one group, and the method's optimizer over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ngptlab.config import OptimConfig
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.optimizers import AdamW, Groups, Optimizers
from ngptlab.nn.roles import Role, roles
from ngptlab.param.rules import Rules, sp


@dataclass(frozen=True)
class Group:
    """A parameter group: parameters that share an optimizer, a learning rate and a weight decay."""

    name: str
    kind: str
    """Name of the one of the method's optimizers that moves them."""
    roles: tuple[Role, ...]
    lr: float
    weight_decay: float


def groups(
    config: OptimConfig, rules: Rules | None = None, optimizers: Optimizers | None = None
) -> tuple[Group, ...]:
    """The parameter groups. Roles with equal numbers and the same optimizer share a group.

    Matrices decay, vectors do not. Learning rates and weight decay are the config's, times the factors of the rules (default:
    SP, all 1), times the factors of the optimizers (default: AdamW, all 1).
    """
    assert config.weight_decay is not None, "methods.resolve comes first"
    table, own = rules or sp(), optimizers or AdamW()
    members: dict[tuple[str, bool, float, float], list[Role]] = {}
    for each in Role:
        decays = each is not Role.SCALE
        rule = table.of(each, own.kind(each))
        lr = config.lr * rule.lr * own.lr_factor(each)
        decay = config.weight_decay * rule.weight_decay * own.decay_factor(each) if decays else 0.0
        members.setdefault((own.kind(each), decays, lr, decay), []).append(each)
    return tuple(
        Group(_name(alike), kind, tuple(alike), lr, decay) for (kind, _, lr, decay), alike in members.items()
    )


def _name(members: list[Role]) -> str:
    if Role.SCALE in members:
        return "scales"
    if len(members) == len(Role) - 1:
        return "matrices"
    # The role of matrices within a branch came later. Its name stays out, because checkpoints hold the names of groups.
    return "+".join(role for role in members if role is not Role.INNER) or Role.INNER


def make_optimizer(
    model: nn.Module, config: OptimConfig, rules: Rules | None = None
) -> torch.optim.Optimizer:
    """The method's optimizer over the model's groups. Each torch group keeps its peaks as `peak_lr` and `peak_decay`.

    `rules` are the rules that the model was built by, SP without them. A module that is no `Decoder` gets AdamW.
    """
    optimizers: Optimizers = AdamW()
    if isinstance(model, Decoder):
        applied, optimizers = rules or sp(), model.optimizers
        same = (model.hidden_divisor, model.std_factors) == (applied.hidden_divisor, applied.std_factors)
        assert same, "the model was built by other rules of parametrization"
    named, kinds = list(model.named_parameters()), roles(model)
    by_kind: dict[str, Groups] = {}
    members_seen = 0
    for group in groups(config, rules, optimizers):
        members = [parameter for name, parameter in named if kinds[name] in group.roles]
        members_seen += len(members)
        if members:
            by_kind.setdefault(group.kind, []).append(
                {
                    "params": members,
                    "name": group.name,
                    "peak_lr": group.lr,
                    "lr": group.lr,
                    "weight_decay": group.weight_decay,
                    "peak_decay": group.weight_decay,
                }
            )
    assert members_seen == len(named), "every parameter in exactly one group"
    return optimizers.make(by_kind, config)
