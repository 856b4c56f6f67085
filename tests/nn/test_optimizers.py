"""The seam `optimizer`: who moves what, and several optimizers as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ngptlab import Decoder, Dims, Parts, build_model, methods
from ngptlab.config import OptimConfig, RunConfig
from ngptlab.errors import ConfigError
from ngptlab.nn.optimizers import MuonInBlocks, Several
from ngptlab.nn.roles import Role, role
from ngptlab.optim.groups import make_optimizer
from ngptlab.optim.pace import set_pace
from ngptlab.stack.probe import refusal
from ngptlab.stack.train import train as train_stack

DIMS = Dims(vocab_size=17, num_layers=2, num_heads=2, d_model=16, d_ff=24)
CONFIG = OptimConfig(lr=2**-6, weight_decay=0.1)


def with_muon(method: str) -> Parts:
    return replace(methods.load(method), optimizer=MuonInBlocks())


def gradients(model: Decoder) -> None:
    """The same random ones each time."""
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)


def updates(method: str, steps: int = 1) -> tuple[Decoder, dict[str, Tensor]]:
    """What so many updates at a rate of 1 without decay add to each parameter."""
    model = build_model(with_muon(method), DIMS, seed=0)
    optimizer = make_optimizer(model, rate(1.0))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for _ in range(steps):
        gradients(model)
        optimizer.step()
    return model, {name: weight.detach() - before[name] for name, weight in model.named_parameters()}


def rate(lr: float) -> OptimConfig:
    return OptimConfig(lr=lr, weight_decay=0.0)


@pytest.mark.parametrize("method", ["gpt", "ngpt"])
def test_who_moves_what(method: str) -> None:
    model = build_model(with_muon(method), DIMS, seed=0)
    optimizer = make_optimizer(model, CONFIG)
    assert isinstance(optimizer, Several)
    muon, adamw = optimizer.parts
    assert isinstance(muon, torch.optim.Muon) and isinstance(adamw, torch.optim.AdamW)
    names = {id(weight): name for name, weight in model.named_parameters()}
    moved = {names[id(p)]: part for part in (muon, adamw) for g in part.param_groups for p in g["params"]}
    assert set(moved) == set(names.values())
    for name, part in moved.items():
        assert part is (muon if role(name) in (Role.READER, Role.WRITER) else adamw), name
    decays = {group["name"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decays.pop("scales", 0.0) == 0.0 and set(decays.values()) == {0.1}


def test_an_update_of_a_block_is_orthogonal_and_of_adamws_size() -> None:
    """Five steps of Newton-Schulz take all but the smallest singular values to 0.7 to 1.2, times 0.2 sqrt(larger side)."""
    _, moved = updates("gpt")
    for name, update in moved.items():
        if role(name) in (Role.READER, Role.WRITER):
            values = torch.linalg.svdvals(update) / (0.2 * max(update.shape) ** 0.5)
            assert values.median() > 0.7 and values.max() < 1.2, name
            assert 0.12 < update.square().mean().sqrt() < 0.25, name
        else:
            # AdamW's first step is the sign of the gradient.
            assert update.abs().median() == pytest.approx(1.0, rel=1e-3), name


def test_rows_stay_on_the_sphere() -> None:
    model = build_model(with_muon("ngpt"), DIMS, seed=0)
    optimizer = make_optimizer(model, CONFIG)
    gradients(model)
    optimizer.step()
    assert (model.blocks[0].mlp.W_u.norm(dim=1) - 1).abs().max() > 1e-3  # type: ignore[union-attr, operator]
    model.after_step()
    assert (model.blocks[0].mlp.W_u.norm(dim=1) - 1).abs().max() < 1e-6  # type: ignore[union-attr, operator]


def test_rates_reach_every_part() -> None:
    model = build_model(with_muon("gpt"), DIMS, seed=0)
    optimizer = make_optimizer(model, CONFIG)
    assert isinstance(optimizer, Several)
    set_pace(optimizer, 0.0, 1.0)
    before = [weight.detach().clone() for weight in model.parameters()]
    gradients(model)
    optimizer.step()
    assert all(weight.equal(old) for weight, old in zip(model.parameters(), before, strict=True))
    assert {group["lr"] for part in optimizer.parts for group in part.param_groups} == {0.0}


def test_state_there_and_back() -> None:
    """Two updates, or one, and one by an optimizer that was given the first one's state: the same weights, bit for bit."""
    whole, _ = updates("ngpt", 2)
    model = build_model(with_muon("ngpt"), DIMS, seed=0)
    first, second = (make_optimizer(model, rate(1.0)) for _ in range(2))
    gradients(model)
    first.step()
    second.load_state_dict(first.state_dict())
    gradients(model)
    second.step()
    assert all(a.equal(b) for a, b in zip(model.parameters(), whole.parameters(), strict=True))


def test_stacks_are_refused(make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    assert "AdamW alone" in refusal(with_muon("gpt")) and refusal(methods.load("gpt")) == ""
    configs = [make_config("gpt", seed=seed, seams={"optimizer": "muon"}) for seed in range(2)]
    with pytest.raises(ConfigError, match="train the runs one by one"):
        train_stack([(config, tmp_path / config.run_name) for config in configs])
