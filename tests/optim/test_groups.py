"""Optimizer groups: decay on matrices alone, peaks kept, and set_pace relative to them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ngptlab import ConfigError, Dims, build_model, methods
from ngptlab.config import OptimConfig
from ngptlab.nn.roles import Role, role, roles
from ngptlab.optim.groups import groups, make_optimizer
from ngptlab.optim.pace import set_pace

DIMS = Dims(vocab_size=7, num_layers=1, num_heads=2, d_model=4, d_ff=6)
CONFIG = OptimConfig(lr=0.01, betas=(0.8, 0.9), eps=1e-7, weight_decay=0.3)


@pytest.mark.parametrize("method", methods.names())
def test_decay_on_matrices_only(method: str) -> None:
    model = build_model(method, DIMS)
    decay = {
        id(p): g["weight_decay"] for g in make_optimizer(model, CONFIG).param_groups for p in g["params"]
    }
    for name, kind in roles(model).items():
        own = model.optimizers.decay_factor(kind)
        assert decay[id(model.get_parameter(name))] == (0.0 if kind is Role.SCALE else 0.3 * own), name


def test_settings_reach_adamw() -> None:
    optimizer = make_optimizer(build_model("ngpt", DIMS), CONFIG)
    assert [group["name"] for group in optimizer.param_groups] == ["matrices", "scales"]
    for group in optimizer.param_groups:
        assert group["lr"] == group["peak_lr"] == 0.01
        assert group["betas"] == (0.8, 0.9)
        assert group["eps"] == 1e-7
        assert not group["amsgrad"] and not group["maximize"]


def test_an_empty_group_is_left_out() -> None:
    assert [group["name"] for group in make_optimizer(build_model("gpt", DIMS), CONFIG).param_groups] == [
        "matrices"
    ]


def test_set_pace_is_relative_to_the_peak_not_to_the_last_value() -> None:
    optimizer = make_optimizer(build_model("ngpt", DIMS), CONFIG)
    optimizer.param_groups[1]["peak_lr"] = 0.1
    for factor in (0.5, 0.25, 1.0):
        set_pace(optimizer, factor, 1.0)
        assert [group["lr"] for group in optimizer.param_groups] == [0.01 * factor, 0.1 * factor]
    assert [group["peak_lr"] for group in optimizer.param_groups] == [0.01, 0.1]


def test_a_step_moves_by_the_learning_rate_and_decays_matrices() -> None:
    """The first step of Adam moves every entry by lr in the direction of its gradient's sign; decay is decoupled."""
    model = build_model("ngpt", DIMS)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer = make_optimizer(model, CONFIG)
    set_pace(optimizer, 0.5, 1.0)
    optimizer.step()
    for name, weight in model.named_parameters():
        kept = 1.0 if role(name) is Role.SCALE else 1 - 0.005 * 0.3
        torch.testing.assert_close(
            weight.detach(), before[name] * kept - 0.005, rtol=1e-4, atol=1e-6, msg=name
        )


def test_every_role_is_in_exactly_one_group() -> None:
    covered = [kind for group in groups(CONFIG) for kind in group.roles]
    assert sorted(covered) == sorted(Role)


def test_a_parameter_without_a_role_is_refused() -> None:
    with pytest.raises(ConfigError, match="no role"):
        make_optimizer(nn.Linear(2, 2), CONFIG)


def test_unresolved_decay_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="resolve"):
        make_optimizer(build_model("gpt", DIMS), OptimConfig())
