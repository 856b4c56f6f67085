"""What every method must satisfy, whatever fills its seams: a new file in ngptlab/methods/ is tested by being there."""

from __future__ import annotations

import ast
from copy import deepcopy
from dataclasses import MISSING, fields, replace

import pytest
import torch
from torch import Tensor

from ngptlab import Decoder, Parts, build_model, methods
from ngptlab.conformance import checks
from ngptlab.conformance.models import DIMS, TOKENS, optimizer_of, train
from ngptlab.nn.parts import FreeWeights, UnitWeights
from ngptlab.nn.roles import Role, d_model_axes, roles
from ngptlab.nn.structure import AsConfigured

STEPS_OF_THE_PAPER = [seam.name for seam in fields(Parts) if seam.default is MISSING]

every_method = pytest.mark.parametrize("method", methods.names())
every_unit_method = pytest.mark.parametrize(
    "method", [name for name in methods.names() if methods.load(name).after_step == UnitWeights()]
)


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


# --- what an author is told -------------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("position", [0, 3, 7])
def test_every_earlier_token_has_an_influence(method: str, position: int) -> None:
    assert (checks.influences(methods.load(method), position)[: position + 1] > 0).all()


@every_method
@pytest.mark.parametrize("check", checks.CHECKS)
def test_what_an_author_is_told(method: str, check: str) -> None:
    checks.CHECKS[check](methods.load(method))


# --- the constraint ---------------------------------------------------------------------------------------------------


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
def test_equal_seeds_draw_equal_matrices_in_every_method(method: str) -> None:
    """A matrix that a method alone has changes no other. Where it draws with another std, the draw is the same up to a factor."""

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
def test_parts_compare_by_value(method: str) -> None:
    parts = methods.load(method)
    assert parts == replace(parts) and hash(parts) == hash(replace(parts))
    assert parts != replace(parts, weight_decay=parts.weight_decay + 1)


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
    assert named == [seam.name for seam in fields(Parts) if seam.name in named], "in the order of the table"
