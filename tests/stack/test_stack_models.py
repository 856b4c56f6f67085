"""A stack computes for each of its models what that model computes alone: losses, gradients, updates, constraint.

In float64 the two ways differ by the order of sums alone: 1e-14 of the largest value, a few times over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from ngptlab import ConfigError, Decoder, Dims, Parts, methods
from ngptlab.config import OptimConfig, ParamConfig
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import FreeWeights, SwiGLU
from ngptlab.nn.structure import AsScheduled, LastWeights, NextToken, WholeContext
from ngptlab.optim.groups import make_optimizer
from ngptlab.optim.pace import set_pace
from ngptlab.param.rules import rules
from ngptlab.stack.models import Stack
from ngptlab.stack.optim import StackedAdamW, clip
from ngptlab.stack.probe import refusal
from ngptlab.stack.update import StackUpdate

DIMS = Dims(vocab_size=17, num_layers=3, num_heads=4, d_model=32, d_ff=24)
BASE = 16
STACKED = {
    "optimizer": AdamW(),
    "context": WholeContext(),
    "batch_stages": (),
    "schedule": AsScheduled(),
    "average": LastWeights(),
}
every_method = pytest.mark.parametrize(
    "method",
    [
        name
        for name in methods.names()
        if all(getattr(methods.load(name), seam) == usual for seam, usual in STACKED.items())
    ],
)


@dataclass
class Seat:
    """A model with its optimizer."""

    model: Decoder
    adamw: torch.optim.Optimizer
    clip: float = 1.0


def seats(method: str, *, dtype: torch.dtype = torch.float64, dims: Dims = DIMS) -> list[Seat]:
    """Three models that differ in all that may differ: seed, rate, decay, rules."""
    allowed = ["sp", "mup", "nugpt" if methods.load(method).after_step != FreeWeights() else "mup"]
    if not takes(method, "mup"):
        allowed = ["sp", "sp", "sp"]
    found = []
    for seed, name in enumerate(allowed):
        param = ParamConfig.model_validate({"rules": name, "base_width": 0 if name == "sp" else BASE})
        model = methods.build_model(method, dims, seed=seed, param=param).to(dtype)
        if name == "mup":
            nn.init.normal_(model.E_out, std=0.02, generator=torch.Generator().manual_seed(5))
        optim = OptimConfig(lr=2.0 ** -(6 + seed), weight_decay=0.1 * seed)
        found.append(Seat(model, make_optimizer(model, optim, rules(param, dims, tokens=None))))
    return found


def takes(method: str, name: str) -> bool:
    """Whether rules of parametrization are for this method."""
    try:
        methods.build_model(
            method, DIMS, param=ParamConfig.model_validate({"rules": name, "base_width": BASE})
        )
    except ConfigError:
        return False
    return True


def batch(step: int, models: int = 3) -> tuple[Tensor, Tensor]:
    tokens_MBT = torch.randint(17, (models, 4, 13), generator=torch.Generator().manual_seed(step))
    return tokens_MBT[:, :, :-1], tokens_MBT[:, :, 1:]


def alone(seat: Seat, inputs_BT: Tensor, targets_BT: Tensor, factor: float) -> tuple[float, float]:
    """A step as the trainer makes it; loss and gradient norm."""
    set_pace(seat.adamw, factor, 1.0)
    loss = seat.model.loss(inputs_BT, targets_BT)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(seat.model.parameters(), seat.clip).item()
    seat.adamw.step()
    seat.model.after_step()
    seat.adamw.zero_grad()
    return loss.item(), norm


def together(
    stack: Stack, adamw: StackedAdamW, sample: tuple[Tensor, Tensor], factor: float
) -> list[list[float]]:
    found: list[list[float]] = StackUpdate(stack, adamw, grad_clip=1.0)(*sample, factor).tolist()
    return found


def stacked(of: Sequence[Seat], steps: int = 0) -> tuple[Stack, StackedAdamW]:
    stack = Stack([seat.model for seat in of])
    return stack, StackedAdamW(stack, [seat.adamw for seat in of], steps=steps)


def assert_equal_weights(one: Seat, other: Seat, rtol: float) -> None:
    for name, weight in one.model.named_parameters():
        size = weight.abs().max().item()
        torch.testing.assert_close(
            other.model.get_parameter(name), weight, rtol=0, atol=rtol * size, msg=name
        )
        for key in ("exp_avg", "exp_avg_sq"):
            mine, theirs = (seat.adamw.state[seat.model.get_parameter(name)][key] for seat in (one, other))
            torch.testing.assert_close(theirs, mine, rtol=0, atol=rtol * mine.abs().max().item(), msg=key)


@every_method
def test_steps_are_those_of_models_alone(method: str) -> None:
    ours, theirs = seats(method), seats(method)
    stack, adamw = stacked(ours)
    start = [seat.model.E_in.detach().clone() for seat in ours]
    for step in range(5):
        factor = 1 / (1 + step)
        sample = batch(step)
        want = [alone(seat, x, y, factor) for seat, x, y in zip(theirs, *sample, strict=True)]
        torch.testing.assert_close(
            together(stack, adamw, sample, factor),
            [list(w) for w in zip(*want, strict=True)],
            rtol=1e-11,
            atol=0,
        )
    adamw.count()
    for before, one, other in zip(start, theirs, ours, strict=True):
        assert (one.model.E_in - before).abs().max() > 1e-3, "it moved"
        # Adam divides by the root of a second moment that may be tiny: some digits are lost in the first steps.
        assert_equal_weights(one, other, rtol=1e-9)
        assert {float(state["step"]) for state in other.adamw.state.values()} == {5.0}


def in_chunks(method: str) -> bool:
    """Whether the loss is taken from a few rows of logits at a time, which is what has a form of its own there."""
    parts = methods.load(method)
    return parts.loss == NextToken() and parts.logits.build(DIMS).scales_rows


@pytest.mark.parametrize("method", [name for name in every_method.args[1] if in_chunks(name)])
def test_so_they_are_on_the_paths_of_a_gpu(method: str, as_on_a_gpu: None) -> None:
    test_steps_are_those_of_models_alone(method)


@every_method
def test_float32_differs_by_roundings(method: str) -> None:
    """Five steps at the rates of a sweep. A rounding is 6e-8; sums of some hundred terms, and Adam, which for gradients
    near zero turns noise into steps of full size, make it 1e-5 of a loss of 2.8 at most."""
    shallow = DIMS.model_copy(update={"num_layers": 2})
    ours, theirs = (seats(method, dtype=torch.float32, dims=shallow) for _ in range(2))
    stack, adamw = stacked(ours)
    for step in range(5):
        sample = batch(step)
        want = [alone(seat, x, y, 1.0)[0] for seat, x, y in zip(theirs, *sample, strict=True)]
        assert together(stack, adamw, sample, 1.0)[0] == pytest.approx(want, rel=1e-5)


def test_a_model_leaves_and_the_others_go_on() -> None:
    """And goes on alone from where it was: its weights and its optimizer are its own."""
    ours, theirs = seats("ngpt"), seats("ngpt")
    stack, adamw = stacked(ours)
    for step in range(4):
        sample = batch(step)
        for row, seat in enumerate(theirs):
            alone(seat, sample[0][row], sample[1][row], 1.0)
        rows = [0, 1, 2] if step < 2 else [0, 2]
        together(stack, adamw, (sample[0][rows], sample[1][rows]), 1.0)
        if step == 1:
            adamw.count()
            stack.keep([0, 2])
            adamw.keep([0, 2])
        if step >= 2:
            alone(ours[1], sample[0][1], sample[1][1], 1.0)
    for one, other in zip(theirs, ours, strict=True):
        assert_equal_weights(one, other, rtol=1e-9)


def test_a_stack_goes_on_from_optimizers_that_made_steps() -> None:
    ours, theirs = seats("gpt"), seats("gpt")
    for step in range(4):
        sample = batch(step)
        for row, seat in enumerate(theirs):
            alone(seat, sample[0][row], sample[1][row], 1.0)
        if step < 2:
            for row, seat in enumerate(ours):
                alone(seat, sample[0][row], sample[1][row], 1.0)
        if step == 2:
            stack, adamw = stacked(ours, steps=2)
        if step >= 2:
            together(stack, adamw, sample, 1.0)
    for one, other in zip(theirs, ours, strict=True):
        assert_equal_weights(one, other, rtol=1e-9)


def test_not_finite_in_one_model_stays_there() -> None:
    ours, theirs = seats("ngpt"), seats("ngpt")
    with torch.no_grad():
        ours[1].model.E_in.fill_(torch.inf)
    stack, adamw = stacked(ours)
    sample = batch(0)
    losses, norms = together(stack, adamw, sample, 1.0)
    for row in (0, 2):
        loss, norm = alone(theirs[row], sample[0][row], sample[1][row], 1.0)
        assert (losses[row], norms[row]) == pytest.approx((loss, norm), rel=1e-11)
        assert_equal_weights(theirs[row], ours[row], rtol=1e-9)
    assert losses[1] != losses[1] and norms[1] != norms[1]


def test_clipping_is_torchs_for_each_model() -> None:
    grads = {"a": torch.randn(3, 4, 5), "b": torch.randn(3, 2)}
    grads["a"][1] *= 1e-3
    grads["b"][1] *= 1e-3
    rows = [[nn.Parameter(torch.zeros_like(grad[row])) for grad in grads.values()] for row in range(3)]
    for row, parameters in enumerate(rows):
        for parameter, grad in zip(parameters, grads.values(), strict=True):
            parameter.grad = grad[row].clone()
    want = [torch.nn.utils.clip_grad_norm_(parameters, 1.0) for parameters in rows]
    torch.testing.assert_close(clip(grads, 1.0), torch.stack(want), rtol=1e-6, atol=0)
    assert want[0] > 1 > want[1], "one is clipped and one is not"
    for row, parameters in enumerate(rows):
        for parameter, grad in zip(parameters, grads.values(), strict=True):
            torch.testing.assert_close(grad[row], parameter.grad, rtol=1e-6, atol=0)


# --- which methods can be stacked -------------------------------------------------------------------------------------


@every_method
def test_every_method_can_be_stacked(method: str) -> None:
    assert refusal(methods.load(method)) == ""


@dataclass(frozen=True)
class LooksAtValues(SwiGLU):
    """A gate that branches on a value, which no batched program can."""

    def build(self, dims: Dims):  # type: ignore[no-untyped-def]
        gate = super().build(dims)
        plain = gate.forward
        gate.forward = lambda u, v: plain(u, v) if float(u.detach().sum()) < 1e9 else u  # type: ignore[method-assign]
        return gate


@dataclass(frozen=True)
class Remembers(SwiGLU):
    """A gate with a weight of its model in hand instead of in its parameters: a stack would use one for all."""

    def build(self, dims: Dims):  # type: ignore[no-untyped-def]
        gate = super().build(dims)
        plain, own = gate.forward, torch.rand(())
        gate.forward = lambda u, v: plain(u, v) * own  # type: ignore[method-assign]
        return gate


@dataclass(frozen=True)
class Replaces(FreeWeights):
    """A constraint that puts a new tensor in a parameter's place instead of changing it."""

    def build(self, dims: Dims):  # type: ignore[no-untyped-def]
        def act(model: nn.Module) -> None:
            for parameter in model.parameters():
                parameter.data = parameter.data * 0.5

        return act


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"gate": LooksAtValues()}, "torch.func.vmap can't run it"),
        ({"gate": Remembers()}, "toy model 1 has loss"),
        ({"after_step": Replaces()}, "constraint on E_in|can't run it"),
    ],
)
def test_a_method_that_cannot_is_refused_with_the_reason(changes: dict[str, object], why: str) -> None:
    parts: Parts = replace(methods.load("gpt"), **changes)  # type: ignore[arg-type]

    assert re.search(why, refusal(parts)), refusal(parts)
