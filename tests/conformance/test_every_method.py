"""What every method must satisfy, whatever fills its seams: a new file in ngptlab/methods/ is tested by being there."""

from __future__ import annotations

import ast
from copy import deepcopy
from dataclasses import MISSING, FrozenInstanceError, fields, is_dataclass, replace

import pytest
import torch
from torch import Tensor

from ngptlab import Decoder, Dims, Parts, build_model, methods
from ngptlab.config import OptimConfig
from ngptlab.nn.parts import FreeWeights, UnitWeights
from ngptlab.nn.roles import Role, d_model_axes, roles
from ngptlab.nn.structure import AsConfigured
from ngptlab.optim.groups import groups, make_optimizer
from noisy import noisy

DIMS = Dims(vocab_size=17, num_layers=2, num_heads=2, d_model=16, d_ff=24)
TOKENS = torch.tensor(
    [[3, 11, 0, 7, 14, 5, 16, 2]]
)  # all different: a row of E_in's gradient is a position's

STEPS_OF_THE_PAPER = [seam.name for seam in fields(Parts) if seam.default is MISSING]

every_method = pytest.mark.parametrize("method", methods.names())
every_unit_method = pytest.mark.parametrize(
    "method", [name for name in methods.names() if methods.load(name).after_step == UnitWeights()]
)


def optimizer_of(model: Decoder, lr: float = 2**-7) -> torch.optim.Optimizer:
    return make_optimizer(model, OptimConfig(lr=lr, weight_decay=model.parts.weight_decay))


def moved(method: str) -> Decoder:
    """A model away from its start, where some methods have matrices of zeros."""
    return noisy(build_model(method, DIMS, seed=1), 2, scales=0.3, weights=0.1)


def train(model: Decoder, steps: int) -> list[float]:
    """Losses on one sequence that repeats itself."""
    row = torch.arange(25) % 5 * 3
    tokens = torch.stack((row, row.roll(1)))
    optimizer, losses = optimizer_of(model), []
    for _ in range(steps):
        loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        optimizer.step()
        model.after_step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def matrices(model: Decoder) -> dict[str, Tensor]:
    kinds = roles(model)
    return {k: p.detach() for k, p in model.named_parameters() if kinds[k] is not Role.SCALE}


def unit_error(model: Decoder, *, flip: bool = False) -> float:
    """Largest distance from 1 of any norm along d_model, or along the other axis."""
    errors = []
    for name, axis in d_model_axes(model).items():
        norms = model.get_parameter(name).detach().norm(dim=1 - axis if flip else axis)
        errors.append((norms - 1).abs().max().item())
    return max(errors)


# --- causality --------------------------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("position", [0, 3, 7])
def test_gradient_reaches_every_earlier_token_and_no_later_one(method: str, position: int) -> None:
    model = moved(method)
    direction = torch.linspace(-1, 1, DIMS.vocab_size) ** 3 + 0.3
    (model(TOKENS)[0, position] @ direction).backward()
    assert model.E_in.grad is not None
    sizes = model.E_in.grad[TOKENS[0]].abs().amax(dim=1)
    assert (sizes[: position + 1] > 0).all(), "an earlier token has no influence"
    assert (sizes[position + 1 :] == 0).all(), "a later token leaks into an earlier prediction"


@every_method
@torch.no_grad()
def test_later_tokens_leave_earlier_logits_bit_equal(method: str) -> None:
    model = moved(method)
    changed = TOKENS.clone()
    changed[0, 5:] = torch.tensor([9, 1, 12])
    before, after = model(TOKENS), model(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5:], after[:, 5:])


# --- roles and groups -------------------------------------------------------------------------------------------------


@every_method
def test_every_parameter_has_one_role_and_one_group(method: str) -> None:
    model = build_model(method, DIMS)
    table, kinds, axes = groups(OptimConfig(weight_decay=0.1)), roles(model), d_model_axes(model)
    assert list(kinds) == [name for name, _ in model.named_parameters()]
    for name, weight in model.named_parameters():
        assert sum(kinds[name] in group.roles for group in table) == 1, name
        assert (name in axes) == (kinds[name] not in (Role.SCALE, Role.INNER)), name
        assert weight.ndim == 2 or kinds[name] is Role.SCALE, name
        if name in axes:
            assert weight.shape[axes[name]] == DIMS.d_model, name
    placed = [id(p) for group in optimizer_of(model).param_groups for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for p in model.parameters())


# --- the constraint ---------------------------------------------------------------------------------------------------


@every_method
def test_after_step_is_idempotent(method: str) -> None:
    model = build_model(method, DIMS, seed=2)
    train(model, 1)
    once = deepcopy(model.state_dict())
    model.after_step()
    for name, value in model.state_dict().items():
        # A second division by a norm within rounding of 1 moves an entry by its own rounding at most.
        torch.testing.assert_close(value, once[name], rtol=2.5e-7, atol=0, msg=name)


@every_unit_method
def test_unit_norms_after_a_real_step(method: str) -> None:
    model = build_model(method, DIMS, seed=2)
    assert unit_error(model) < 1e-6
    optimizer = optimizer_of(model)
    model.loss(TOKENS[:, :-1], TOKENS[:, 1:]).backward()
    optimizer.step()
    assert unit_error(model) > 1e-3, "the step itself must leave the sphere, else this shows nothing"
    model.after_step()
    assert unit_error(model) < 1e-6


@every_unit_method
def test_the_norm_check_tells_the_axes_apart(method: str) -> None:
    assert unit_error(build_model(method, DIMS, seed=2), flip=True) > 0.1


@every_unit_method
def test_the_norm_check_sees_a_missing_constraint(method: str) -> None:
    free = replace(methods.load(method), after_step=FreeWeights())
    assert unit_error(build_model(free, DIMS, seed=2)) > 0.1


# --- training ---------------------------------------------------------------------------------------------------------


@every_method
def test_learns_a_repeating_sequence(method: str) -> None:
    # A logit is at most s_z where cosines are scaled, and an s_z that is slow to grow takes 45 steps.
    losses = train(build_model(method, DIMS, seed=3), 50)
    assert losses[-1] < 0.5 * losses[0], losses
    assert all(torch.isfinite(torch.tensor(losses)))


@every_method
def test_starts_near_a_uniform_guess(method: str) -> None:
    loss = build_model(method, DIMS, seed=3).loss(TOKENS[:, :-1], TOKENS[:, 1:]).item()
    assert abs(loss - torch.tensor(DIMS.vocab_size).log().item()) < 0.5


# --- initial weights --------------------------------------------------------------------------------------------------


@every_method
def test_reset_fills_every_parameter(method: str) -> None:
    model = Decoder(DIMS, methods.load(method))
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(float("nan"))
    model.reset(0)
    for name, weight in model.named_parameters():
        assert torch.isfinite(weight).all(), name
        assert weight.dtype == torch.float32


@every_method
def test_seed_decides_the_weights(method: str) -> None:
    models = [build_model(method, DIMS, seed=seed) for seed in (4, 4, 5)]
    one, same, other = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], same[name]) for name in one)
    drawn = [name for name, weight in matrices(models[0]).items() if weight.any()]
    assert drawn and not any(torch.equal(one[name], other[name]) for name in drawn)


@every_method
def test_draws_do_not_depend_on_the_ambient_generator(method: str) -> None:
    state = torch.random.get_rng_state()
    build_model(method, DIMS, seed=4)
    assert torch.equal(state, torch.random.get_rng_state())


@every_method
def test_equal_seeds_draw_equal_matrices_in_every_method(method: str) -> None:
    """Up to a factor: a method may draw some with another std. A matrix that it alone has changes no other."""

    def drawn(name: str) -> dict[str, Tensor]:
        return matrices(build_model(replace(methods.load(name), after_step=FreeWeights()), DIMS, seed=6))

    reference, free, plain = drawn("gpt"), drawn(method), methods.load(method).init == AsConfigured()
    for name in free.keys() & reference.keys():
        if plain and free[name].shape == reference[name].shape:
            assert torch.equal(free[name], reference[name]), name
    model = build_model(method, DIMS, seed=6)
    for name, axis in d_model_axes(model).items():
        # What the constraint leaves is the draw, up to a positive factor for each row or column along d_model.
        if free[name].any():
            cosine = torch.cosine_similarity(model.get_parameter(name).detach(), free[name], dim=axis)
            torch.testing.assert_close(cosine, torch.ones_like(cosine), rtol=0, atol=1e-6, msg=name)


# --- dtypes and copies ------------------------------------------------------------------------------------------------


@every_method
@torch.no_grad()
def test_logits_are_float32_and_bfloat16_comes_close(method: str) -> None:
    model = build_model(method, DIMS, seed=7)
    exact = model(TOKENS)
    model.compute_dtype = torch.bfloat16
    rough = model(TOKENS)
    assert exact.dtype == rough.dtype == torch.float32
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    error = ((rough - exact).norm() / exact.norm()).item()
    # bfloat16 keeps 8 bits: a rounding is off by up to 2^-8, by 2^-9 on the root of the mean square. Some 8 roundings
    # on each of 4 branches, and the head, add up as a random walk to about 6 * 2^-9 = 1%; 4% is beyond it and below
    # any wrong computation. Above 0, for otherwise the dtype was ignored.
    assert 1e-4 < error < 0.04


@every_method
@torch.no_grad()
def test_copies_and_round_trips_keep_the_logits(method: str) -> None:
    model = build_model(method, DIMS, seed=8)
    fresh = build_model(method, DIMS, seed=9)
    assert not torch.equal(fresh(TOKENS), model(TOKENS))
    fresh.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    assert torch.equal(fresh(TOKENS), model(TOKENS))
    copied = deepcopy(model)
    assert torch.equal(copied(TOKENS), model(TOKENS))
    copied.reset(9)
    assert not torch.equal(copied(TOKENS), model(TOKENS)), "the copy shares its weights"
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}, (
        "constants are no buffers"
    )


# --- the file of a method ---------------------------------------------------------------------------------------------


@every_method
def test_parts_are_frozen_records(method: str) -> None:
    parts = methods.load(method)
    assert parts == replace(parts) and hash(parts) == hash(replace(parts))
    assert parts != replace(parts, weight_decay=parts.weight_decay + 1)
    assert "0x" not in repr(parts) and "lambda" not in repr(parts)
    with pytest.raises(FrozenInstanceError):
        parts.weight_decay = 1.0  # type: ignore[misc]
    for seam in fields(Parts):
        part = getattr(parts, seam.name)
        if hasattr(part, "build") or hasattr(part, "build_at"):
            assert is_dataclass(part) and part.__dataclass_params__.frozen, seam.name
            assert part == replace(part) and hash(part) == hash(replace(part)), seam.name
        else:
            assert isinstance(part, int | float), seam.name


def test_methods_differ_from_each_other() -> None:
    assert len({methods.load(name) for name in methods.names()}) == len(methods.names())


@every_method
def test_file_defines_METHOD_with_the_seams_in_order(method: str) -> None:
    tree = ast.parse(methods.path(method).read_text(encoding="utf-8"))
    assert methods.claim(method).endswith("."), "the first line of the docstring is the method's claim"
    found = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["METHOD"]
    ]
    assert len(found) == 1 and isinstance(found[0], ast.Call)
    assert ast.unparse(found[0].func) == "Parts" and not found[0].args
    named = [keyword.arg for keyword in found[0].keywords]
    assert named[: len(STEPS_OF_THE_PAPER)] == STEPS_OF_THE_PAPER
    table = [seam.name for seam in fields(Parts)]
    assert named == [seam for seam in table if seam in named], "in the order of the table"
