"""What every method's optimizer must satisfy: a new one in ngptlab/methods/ is tested by being there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ngptlab import Decoder, Dims, build_model, methods
from ngptlab.config import OptimConfig, ParamConfig, RunConfig
from ngptlab.errors import ConfigError
from ngptlab.experiment import train
from ngptlab.nn.optimizers import MuonInBlocks, Optimizers
from ngptlab.nn.roles import Role, role
from ngptlab.optim.groups import groups, make_optimizer
from ngptlab.optim.pace import set_pace
from ngptlab.optim.table import rows
from ngptlab.param.rules import sp
from ngptlab.plan.memory import num_moments
from ngptlab.train.checkpoint import resume, save_checkpoint

DIMS = Dims(vocab_size=17, num_layers=2, num_heads=2, d_model=16, d_ff=24)
CONFIG = OptimConfig(lr=2**-6, weight_decay=0.1)
STEPS = 12  # whoever refreshes something does so within ten

Outcome = Callable[[Path], dict[str, bytes]]
OF = {methods.load(name).optimizer: name for name in reversed(methods.names())}
"""Each optimizer once, with a method that has it."""
every_optimizer = pytest.mark.parametrize("lender", sorted(OF.values()))


def model_with(lender: str, method: str = "ngpt") -> Decoder:
    """Two blocks, with scales; the same weights each time."""
    parts = replace(methods.load(method), optimizer=methods.load(lender).optimizer)
    return build_model(parts, DIMS, seed=0)


def own(lender: str) -> Optimizers:
    return methods.load(lender).optimizer.build(DIMS)


def gradients(steps: int) -> list[list[Tensor]]:
    """Of every step, for every parameter."""
    generator = torch.Generator().manual_seed(0)
    shapes = [weight.shape for weight in model_with("gpt").parameters()]
    return [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(steps)]


def step(model: Decoder, optimizer: torch.optim.Optimizer, values: list[Tensor]) -> None:
    for weight, grad in zip(model.parameters(), values, strict=True):
        weight.grad = grad.clone()
    optimizer.step()
    optimizer.zero_grad()


@every_optimizer
@pytest.mark.parametrize("saved", [1, 2, 9])
def test_a_checkpoint_holds_all_state(lender: str, saved: int, tmp_path: Path) -> None:
    """Saved after so many updates and taken up by a new optimizer: the same weights as without, bit for bit."""
    model = model_with(lender)
    optimizer = make_optimizer(model, CONFIG)
    for number, values in enumerate(gradients(STEPS), start=1):
        step(model, optimizer, values)
        if number == saved:
            save_checkpoint(tmp_path, step=number, config_hash="h", model=model, optimizer=optimizer, keep=1)
    again = model_with(lender)
    optimizer = make_optimizer(again, CONFIG)
    assert resume(tmp_path, config_hash="h", model=again, optimizer=optimizer, warn=pytest.fail) == saved
    for values in gradients(STEPS)[saved:]:
        step(again, optimizer, values)
    assert all(a.equal(b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


@every_optimizer
def test_a_resumed_run_is_the_same(
    lender: str, make_config: Callable[..., RunConfig], outcome: Outcome, tmp_path: Path
) -> None:
    config, cut = make_config("ngpt", seams={"optimizer": lender}), tmp_path / "cut"
    whole, _ = train(config, tmp_path / "whole"), train(config, cut)
    # As after a crash: back to the checkpoint of step 6 of 8.
    shutil.rmtree(cut / "checkpoints" / "step_000008")
    (cut / "summary.json").unlink()
    train(config, cut)
    assert outcome(cut) == outcome(whole.path)


@every_optimizer
def test_plans_count_what_is_kept(lender: str, make_config: Callable[..., RunConfig]) -> None:
    config = make_config(lender)
    model = build_model(lender, config.model)
    optimizer = make_optimizer(model, CONFIG)
    for _ in range(2):
        step(model, optimizer, [torch.ones_like(weight) for weight in model.parameters()])
    tensors = [v for state in optimizer.state.values() for v in state.values() if v.dim()]
    assert num_moments(config) == sum(v.numel() for v in tensors)
    assert all(v.dtype == torch.float32 for v in tensors)


@every_optimizer
def test_a_rate_of_zero_moves_nothing(lender: str) -> None:
    model = model_with(lender)
    optimizer = make_optimizer(model, CONFIG)
    before = [weight.detach().clone() for weight in model.parameters()]
    set_pace(optimizer, 0.0, 1.0)
    for values in gradients(3):
        step(model, optimizer, values)
    for weight, old in zip(model.parameters(), before, strict=True):
        # A norm that is put back is so within rounding.
        torch.testing.assert_close(weight.detach(), old, rtol=1e-6, atol=0)


@every_optimizer
@pytest.mark.parametrize("start", ["as drawn", "zero"])
def test_no_gradient_at_first_is_no_nan_later(lender: str, start: str) -> None:
    model = model_with(lender)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(0.0 if start == "zero" and role(name) is Role.WRITER else 1.0)
    before = [weight.detach().clone() for weight in model.parameters()]
    optimizer = make_optimizer(model, CONFIG)
    for number, values in enumerate(gradients(4)):
        step(model, optimizer, [0 * value if number < 2 else value for value in values])
    for (name, weight), old in zip(model.named_parameters(), before, strict=True):
        assert weight.isfinite().all() and not torch.allclose(weight, old, rtol=1e-3, atol=0), name


@every_optimizer
def test_factors_reach_groups_and_the_table(lender: str) -> None:
    model, of = model_with(lender), own(lender)
    by_role = {each: group for group in groups(CONFIG, sp(), of) for each in group.roles}
    for each, group in by_role.items():
        assert group.lr == CONFIG.lr * of.lr_factor(each) and group.kind == of.kind(each)
        assert group.weight_decay == (0.0 if each is Role.SCALE else 0.1 * of.decay_factor(each))
    for row in rows(model, CONFIG, sp()):
        group = by_role[Role(row.role)]
        assert (row.moved_by, row.lr, row.decay) == (group.kind, group.lr, group.weight_decay)


MUON = [lender for lender in OF.values() if methods.load(lender).optimizer == MuonInBlocks()]
"""muP has a table for it."""


@every_optimizer
def test_rules_for_adamw_take_adamw_alone(lender: str) -> None:
    for rules in ("mup", "nugpt"):
        param = ParamConfig(rules=rules, base_width=8)
        parts = replace(methods.load("ngpt"), optimizer=methods.load(lender).optimizer)
        if own(lender).adam_only or (rules == "mup" and lender in MUON):
            build_model(parts, DIMS, param=param)
            continue
        with pytest.raises(ConfigError, match=r"rules for AdamW.*take sp") as error:
            build_model(parts, DIMS, param=param)
        assert "\n" not in str(error.value)
