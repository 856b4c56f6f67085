"""The paper's ablations of nGPT: each differs from it in what its file says, and in nothing else."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from ngptlab import Decoder, Dims, Parts, build_model, methods
from ngptlab.config import OptimConfig
from ngptlab.conformance.models import noisy
from ngptlab.measure.scales.measure import scales
from ngptlab.methods import load
from ngptlab.nn.rope import rope_tables
from ngptlab.optim.groups import make_optimizer

DIMS = Dims(vocab_size=17, num_layers=3, num_heads=2, d_model=16, d_ff=24)
TOKENS = (torch.arange(2 * 13) ** 2 * 5 % 17).view(2, 13)

SEAMS = {
    "ngpt_s_z_scale_one": ["logits"],
    "ngpt_s_qk_init_third": ["qk"],
    "ngpt_scalar_scales": ["residual", "qk", "gate", "logits"],
    "ngpt_fixed_scales": ["qk", "gate"],
    "ngpt_no_qk_norm": ["qk"],
}
VECTORS = DIMS.num_layers * (3 * DIMS.d_model + 2 * DIMS.d_ff) + DIMS.vocab_size
"""Numbers in nGPT's scales: in each layer two alphas, s_qk of all heads, s_u and s_v; and s_z."""
NUMBERS = {
    "ngpt_scalar_scales": DIMS.num_layers * 4 + 1,
    "ngpt_fixed_scales": DIMS.num_layers * 2 * DIMS.d_model + DIMS.vocab_size,
}

LEFT_OUT = {"ngpt_scalar_scales": {"s_u"}, "ngpt_fixed_scales": {"s_qk", "s_u", "s_v"}}


def wide(method: str | Parts, seed: int = 0) -> Decoder:
    return build_model(method, DIMS, seed=seed).double()


def means(model: Decoder) -> dict[str, float]:
    return {row["name"]: row["mean"] for row in scales(model)}


@pytest.mark.parametrize("method", SEAMS)
def test_only_these_seams_differ(method: str) -> None:
    own, ngpt = load(method), load("ngpt")
    assert [f.name for f in fields(Parts) if getattr(own, f.name) != getattr(ngpt, f.name)] == SEAMS[method]


@pytest.mark.parametrize("method", SEAMS)
def test_numbers_that_are_trained(method: str) -> None:
    model = wide(method)
    assert model.num_params() - wide("gpt").num_params() == NUMBERS.get(method, VECTORS)
    loss = model.loss(TOKENS[:, :-1], TOKENS[:, 1:])
    loss.backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 1e-9 for weight in model.parameters())


@pytest.mark.parametrize("method", ["ngpt_s_z_scale_one", "ngpt_scalar_scales", "ngpt_fixed_scales"])
@torch.no_grad()
def test_it_starts_as_ngpt(method: str) -> None:
    """stored * (1 / stored) may be off from 1 by a rounding."""
    torch.testing.assert_close(wide(method)(TOKENS), wide("ngpt")(TOKENS), rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", SEAMS)
def test_where_scales_start(method: str) -> None:
    start, ngpt = means(wide(method)), means(wide("ngpt"))
    expected = {name: 0.33 if name.endswith("s_qk") else value for name, value in ngpt.items()}
    for name, value in start.items():
        assert value == pytest.approx((expected if method == "ngpt_s_qk_init_third" else ngpt)[name]), name
    missing = {name.rpartition(".")[2] for name in ngpt.keys() - start.keys()}
    assert missing == LEFT_OUT.get(method, set())


def moves(method: str, lr: float = 2**-10) -> dict[str, float]:
    """How far a first step of Adam, which is lr in the stored number, moves what acts; by the last piece of the name."""
    model = wide(method)
    before = {name: module.effective().detach().clone() for name, module in effective(model)}
    optimizer = make_optimizer(model, OptimConfig(lr=lr, weight_decay=0.0))
    model.loss(TOKENS[:, :-1], TOKENS[:, 1:]).backward()
    optimizer.step()
    found = {}
    for name, module in effective(model):
        found[name.rpartition(".")[2]] = float((module.effective().detach() - before[name]).abs().max()) / lr
    return found


def effective(model: Decoder) -> list[tuple[str, torch.nn.Module]]:
    return [(name, module) for name, module in model.named_modules() if hasattr(module, "effective")]


@pytest.mark.parametrize("method", SEAMS)
def test_how_fast_scales_learn(method: str) -> None:
    """init / scale times the rate, in a width of 16: 4 where a scale is stored at 1/4."""
    expected = {"alpha": 0.05 * 4, "s_qk": 4.0, "s_u": 1.0, "s_v": 1.0, "s_z": 4.0}
    assert moves("ngpt") == pytest.approx(expected, rel=1e-3)
    changed = {"ngpt_s_z_scale_one": {"s_z": 1.0}, "ngpt_s_qk_init_third": {"s_qk": 0.33 * 4}}
    found = moves(method)
    expected = {**expected, **changed.get(method, {})}
    assert found == pytest.approx({kind: expected[kind] for kind in found}, rel=1e-3)


def test_one_number_does_what_a_vector_of_it_does() -> None:
    """Equal values, and a gradient that is the sum of the vector's."""
    scalars, vectors = noisy(wide("ngpt_scalar_scales"), 3, scales=0.5, weights=0.2), wide("ngpt")
    names = {name for name, _ in scalars.named_parameters()}
    with torch.no_grad():
        for name, weight in vectors.named_parameters():
            if name in names:
                weight.copy_(scalars.get_parameter(name))  # a number fills a vector
    losses = [model.loss(TOKENS[:, :-1], TOKENS[:, 1:]) for model in (scalars, vectors)]
    torch.testing.assert_close(*losses, rtol=1e-13, atol=0)
    for loss in losses:
        loss.backward()
    for name, weight in scalars.named_parameters():
        other = vectors.get_parameter(name).grad
        assert weight.grad is not None and other is not None
        expected = other.sum().view(1) if name.endswith(".stored") else other
        torch.testing.assert_close(weight.grad, expected, rtol=1e-9, atol=1e-12, msg=name)
    left_out = {name for name, _ in vectors.named_parameters()} - names
    assert {name.rpartition(".gate.")[2] for name in left_out} == {"s_u.stored"}
    for name in left_out:
        gradient = vectors.get_parameter(name).grad
        assert gradient is not None and abs(float(gradient.sum())) < 1e-12 < float(gradient.abs().max()), name


def test_scalar_scales_leave_scores_to_distance_alone() -> None:
    """One number commutes with RoPE: what a vector breaks stays whole."""
    qk = noisy(wide("ngpt_scalar_scales"), 1, scales=0.5, weights=0.0).blocks[0].attn.qk
    q_THK, k_THK = contents(12)
    q_BTHK, k_BTHK = qk(q_THK, k_THK, rope_tables(12, 2, 8, like=q_THK))
    scores_TT = q_BTHK[0, :, 0] @ k_BTHK[0, :, 0].mT
    torch.testing.assert_close(scores_TT[1:, 1:], scores_TT[:-1, :-1], rtol=0, atol=1e-13)


def contents(length: int) -> Tensor:
    """One query and one key, at every position."""
    generator = torch.Generator().manual_seed(0)
    x_2HK = torch.randn((2, 1, 1, 2, 8), generator=generator, dtype=torch.float64)
    return x_2HK.expand(2, 1, length, 2, 8)


@torch.no_grad()
def test_queries_and_keys_of_unit_norm_need_no_norm() -> None:
    """There the two are one; a factor on a query is a factor on its scores without the norm, and nothing with it."""
    with_norm, without = (
        noisy(wide(method), 5, scales=0.5, weights=0.0).blocks[0].attn.qk
        for method in ("ngpt", "ngpt_no_qk_norm")
    )
    q, k = torch.nn.functional.normalize(contents(7), dim=-1)
    rope = rope_tables(7, 2, 8, like=q)
    for found, expected in zip(without(q, k, rope), with_norm(q, k, rope), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(without(3 * q, k, rope)[0], 3 * without(q, k, rope)[0])
    torch.testing.assert_close(with_norm(3 * q, k, rope)[0], with_norm(q, k, rope)[0])


def test_nugpt_stores_s_z_at_its_own_number() -> None:
    """So the ablation of how s_z is stored is none there, as its file says."""
    from ngptlab.config import ParamConfig

    param = ParamConfig(rules="nugpt", base_width=8)
    one, other = (build_model(m, DIMS, param=param) for m in ("ngpt_s_z_scale_one", "ngpt"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert torch.equal(one(TOKENS), other(TOKENS))


def test_the_claims_of_the_ablations_have_their_methods() -> None:
    from ngptlab.claims.rules import Costs
    from ngptlab.recipes import claims

    rules = [claim.rule for source in claims.sources() for claim in source.claims]
    costs = {rule.method for rule in rules if isinstance(rule, Costs) and rule.baseline == "ngpt"}
    assert costs == set(SEAMS) and costs <= set(methods.names())
