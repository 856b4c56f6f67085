"""How matrices are drawn: the text, and what it does to a model under each parametrization."""

from __future__ import annotations

import pytest
import torch

from ngptlab import methods
from ngptlab.config import Dims, Initial, OptimConfig, ParamConfig, RunConfig, initial, parse
from ngptlab.config.draws import ROLES
from ngptlab.errors import ConfigError
from ngptlab.nn.roles import Role, role

DIMS = Dims(vocab_size=300, num_layers=2, num_heads=4, d_model=128)
BOOK = {"name": "x", "method": "gpt", "model": DIMS.model_dump()}


def config(**optim: object) -> RunConfig:
    return parse({**BOOK, "optim": optim}, origin="a test")


def stds(
    text: str, *, method: str = "gpt", param: ParamConfig | None = None, dims: Dims = DIMS
) -> dict[str, float]:
    model = methods.build_model(method, dims, seed=0, param=param, optim=OptimConfig(init=text))
    return {
        name: float(weight.detach().std())
        for name, weight in model.named_parameters()
        if role(name) is not Role.SCALE
    }


def test_roles_are_those_of_the_matrices() -> None:
    """One inside a branch is drawn as a reader."""
    assert {*ROLES} == {kind.value for kind in Role if kind not in (Role.SCALE, Role.INNER)}


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("std:0.02", "std:0.02"),
        ("std:2e-2", "std:0.02"),
        ("fan_in", "fan_in"),
        ("fan_in:1.0", "fan_in"),
        ("fan_in:.5", "fan_in:0.5"),
        ("unembedding=zero", "std:0.02,unembedding=zero"),
        ("fan_in, writer=zero ,embedding=std:1", "fan_in,embedding=std:1,writer=zero"),
        ("std:0.02,reader=std:0.02", "std:0.02"),
    ],
)
def test_what_means_the_same_is_one_text_and_one_hash(text: str, same: str) -> None:
    assert initial(text).text == same and initial(same).text == same
    assert config(init=text).optim.init == same and config(init=text).hash == config(init=same).hash


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "give std:NUMBER"),
        ("0.02", "give std:NUMBER"),
        ("std:-1", "give std:NUMBER"),
        ("std:nan", "give std:NUMBER"),
        ("fan_in:0", "give std:NUMBER"),
        ("zero:1", "give std:NUMBER"),
        ("std:0.02,readers=zero", "no role 'readers', did you mean 'reader'"),
        ("std:0.02,reader=zero,reader=fan_in", "reader twice"),
        ("std:0.02,fan_in", "after a comma comes ROLE="),
    ],
)
def test_what_is_none_is_told(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=r"optim\.init: given") as caught:
        config(init=text)
    assert why in str(caught.value) and "\n" not in str(caught.value)


def test_hashes_of_configs_without_it_are_as_before() -> None:
    """The literal is of a time before the fields were there."""
    assert "init" not in config().science()["optim"] and "alpha_init" not in config().science()["optim"]
    assert config().hash == "42db6de2"
    assert config(init="fan_in").hash != config().hash != config(alpha_init=0.1).hash


def test_the_usual_draw_is_bit_equal_to_what_it_was() -> None:
    model = methods.build_model("gpt", DIMS, seed=3)
    generator = torch.Generator().manual_seed(3)
    for name, weight in model.named_parameters():
        std = 0.02 / 2 if role(name) is Role.WRITER else 0.02
        assert torch.equal(weight, torch.randn(weight.shape, generator=generator) * std), name


def test_standard_deviations_are_what_the_text_says() -> None:
    """20,000 values or more of each matrix know their std to 1%."""
    fan = 128**-0.5
    for name, std in stds("fan_in:2,embedding=std:0.5,unembedding=zero").items():
        expected = {Role.EMBEDDING: 0.5, Role.UNEMBEDDING: 0.0, Role.READER: 2 * fan, Role.WRITER: fan}[
            role(name)
        ]
        expected *= (
            (128 / 341) ** 0.5 if name.endswith("mlp.W_o") else 1.0
        )  # its inputs are the MLP's hidden channels
        assert std == pytest.approx(expected, rel=0.02), name


@pytest.mark.parametrize("text", ["std:0.02", "fan_in", "std:0.02,unembedding=zero"])
def test_under_mup_the_base_is_one_of_its_widths(text: str) -> None:
    """At the base the draws are SP's; at four times the width embedding and unembedding keep theirs, the others halve."""
    base, wide = (Dims(vocab_size=300, num_layers=2, num_heads=h, d_model=32 * h) for h in (2, 8))
    param = ParamConfig(rules="mup", base_width=64)
    small, large = stds(text, param=param, dims=base), stds(text, param=param, dims=wide)
    assert small == stds(text, dims=base)
    for name, std in large.items():
        factor = 1.0 if role(name) in (Role.EMBEDDING, Role.UNEMBEDDING) else 0.5
        assert std == pytest.approx(factor * small[name], rel=0.03), name


def test_alpha_starts_where_it_is_told() -> None:
    def alphas(optim: OptimConfig) -> set[float]:
        model = methods.build_model("ngpt", DIMS, optim=optim)
        return {round(float(b.attn_residual.alpha.effective().detach()[0]), 6) for b in model.blocks}  # type: ignore[union-attr, operator]

    assert alphas(OptimConfig()) == {0.05} and alphas(OptimConfig(alpha_init=0.25)) == {0.25}
    with pytest.raises(ConfigError, match="no learned alpha"):
        methods.build_model("gpt", DIMS, optim=OptimConfig(alpha_init=0.25))
    both = ParamConfig(rules="nugpt", base_width=32, base_layers=2)
    with pytest.raises(ConfigError, match="leave one of them out"):
        methods.build_model("ngpt", DIMS, param=both, optim=OptimConfig(alpha_init=0.25))
    assert Initial().text == OptimConfig().init
