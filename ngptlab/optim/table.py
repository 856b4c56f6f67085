"""The parametrization as applied, for people: each tensor's initial std, learning rate and weight decay."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

from ngptlab.config import OptimConfig
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.parts import Scale
from ngptlab.nn.roles import roles, zero_at_first
from ngptlab.optim.groups import groups
from ngptlab.param.rules import Rules


@dataclass(frozen=True)
class Row:
    """One tensor, or the same tensor of all blocks."""

    tensor: str
    role: str
    shape: str
    std: str
    """Standard deviation of the draw, before the method's constraint; for a scale its effective and stored initial values."""
    moved_by: str
    """Name of the optimizer."""
    lr: float
    decay: float


def rows(model: Decoder, config: OptimConfig, rules: Rules) -> list[Row]:
    """One row for each tensor, blocks taken together. Learning rates are peaks."""
    modules, kinds, zeros = dict(model.named_modules()), roles(model), zero_at_first(model)
    table: dict[str, Row] = {}
    for name, weight in model.named_parameters():
        kind = kinds[name]
        (group,) = (group for group in groups(config, rules, model.optimizers) if kind in group.roles)
        drawn = 0.0 if name in zeros else model.init_std(name, kind, weight.shape[-1])
        std = _start(modules[name.rpartition(".")[0]], f"{drawn:.4g}")
        tensor = re.sub(r"^blocks\.\d+", "blocks.*", name).removesuffix(".stored")
        row = Row(tensor, kind, _shape(tuple(weight.shape)), std, group.kind, group.lr, group.weight_decay)
        assert table.setdefault(tensor, row) == row, f"{tensor} differs between blocks"
    return list(table.values())


def _start(owner: nn.Module, std: str) -> str:
    return f"{owner.init:.4g} stored {owner.scale:.4g}" if isinstance(owner, Scale) else std


def _shape(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def text(model: Decoder, config: OptimConfig, rules: Rules) -> str:
    """The table in columns, a heading first, and the divisor of the hidden state last."""
    heading = ("tensor", "role", "shape", "std", "optimizer", "lr", "decay")
    body = [
        (row.tensor, row.role, row.shape, row.std, row.moved_by, f"{row.lr:.4g}", f"{row.decay:.4g}")
        for row in rows(model, config, rules)
    ]
    widths = [max(map(len, column)) for column in zip(heading, *body, strict=True)]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in (heading, *body)]
    return "\n".join([*lines, f"hidden state / {rules.hidden_divisor:g} before the head"])
