"""The tables, written out by hand, and what they make of a model. A coordinate check does not see wrong decay; this does."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from ngptlab import ConfigError, Decoder, Dims, build_model, methods
from ngptlab.config import OptimConfig, ParamConfig, parse
from ngptlab.config.draws import Initial
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import FreeWeights, PlainLogits, Scale, UnitWeights
from ngptlab.nn.roles import Role, ScaleKind, role, roles
from ngptlab.optim.groups import make_optimizer
from ngptlab.optim.table import rows, text
from ngptlab.param.apply import apply
from ngptlab.param.rules import Rule, Rules, mup, nugpt, rules, sp

BASE, HEAD = 32, 16
CONFIG = OptimConfig(lr=0.01, weight_decay=0.1)

moved_by_adamw = [name for name in methods.names() if methods.load(name).optimizer == AdamW()]
# What muP refuses, because it has matrices or a head that rules over width don't know; tests/nn/test_structure.py has the errors.
REFUSED = {"tied", "tokenformer", "value_embeddings", "dyt"}
of_known_widths = [name for name in moved_by_adamw if name not in REFUSED]
every_method = pytest.mark.parametrize("method", of_known_widths)
normalized = [name for name in of_known_widths if methods.load(name).after_step == UnitWeights()]
free = [name for name in of_known_widths if methods.load(name).after_step == FreeWeights()]
every_normalized = pytest.mark.parametrize("method", normalized)


def dims_of(width: int, vocab_size: int = 23, num_layers: int = 2) -> Dims:
    return Dims(
        vocab_size=vocab_size,
        num_layers=num_layers,
        num_heads=width // HEAD,
        d_model=width,
        d_ff=3 * width,
    )


def param_of(name: str, base: int = BASE) -> ParamConfig:
    return ParamConfig.model_validate({"rules": name, "base_width": 0 if name == "sp" else base})


def build(method: str, name: str, width: int, **sizes: int) -> tuple[Decoder, torch.optim.Optimizer]:
    dims, param = dims_of(width, **sizes), param_of(name)
    model = build_model(method, dims, seed=3, param=param)
    return model, make_optimizer(model, CONFIG, rules(param, dims, tokens=None))


def numbers(model: Decoder, optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    """Name of every parameter -> (learning rate, decay), from the optimizer itself."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    found: dict[str, tuple[float, float]] = {}
    for group in optimizer.param_groups:
        assert group["lr"] == group["peak_lr"]
        for weight in group["params"]:
            assert found.setdefault(names.pop(id(weight)), (group["lr"], group["weight_decay"]))
    assert not names, "every parameter in exactly one group"
    return found


def trained(model: Decoder, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    tokens = torch.arange(34).view(2, 17) * 5 % 23
    losses = []
    for _ in range(steps):
        loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.after_step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


# --- muP is SP at the base width --------------------------------------------------------------------------------------


@every_method
def test_mup_at_the_base_width_is_sp_bit_for_bit(method: str) -> None:
    (plain, plain_adam), (model, adam) = (build(method, name, BASE) for name in ("sp", "mup"))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))
    assert numbers(plain, plain_adam) == numbers(model, adam)
    assert [g["name"] for g in adam.param_groups] == [g["name"] for g in plain_adam.param_groups]
    assert trained(plain, plain_adam, 3) == trained(model, adam, 3)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters(), strict=True))


@every_method
def test_mup_elsewhere_is_not_sp(method: str) -> None:
    (plain, plain_adam), (model, adam) = (build(method, name, 2 * BASE) for name in ("sp", "mup"))
    assert trained(plain, plain_adam, 3) != trained(model, adam, 3)


@every_normalized
def test_nugpt_at_the_base_width_differs_in_stored_scales_alone(method: str) -> None:
    (plain, _), (model, adam) = (build(method, name, BASE) for name in ("sp", "nugpt"))
    start = dict(plain.named_parameters())
    for name, weight in model.named_parameters():
        kept = role(name) is not Role.SCALE or ".s_u." in name or ".s_v." in name
        assert torch.equal(weight, start[name]) == kept, name
    assert {lr for lr, _ in numbers(model, adam).values()} == {0.01}
    tokens = torch.arange(16).view(1, 16)
    # The same function, but for the rounding of stored * (init / stored): 1e-7 of a value, over some twenty products.
    torch.testing.assert_close(model(tokens), plain(tokens), rtol=0, atol=2e-6)


@pytest.mark.parametrize("m", [1, 2, 4, 8])
def test_mup_for_muon_moves_a_matrix_by_one_spectral_norm_at_all_widths(m: int) -> None:
    """What the rule is for. AdamW moves embedding, head and scales by its own table."""
    model, muon = build("muon", "mup", m * BASE)
    kinds, before = roles(model), {name: p.detach().clone() for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        weight.grad = torch.randn(weight.shape, generator=generator)
    found = numbers(model, muon)
    for group in muon.param_groups:
        group["weight_decay"] = 0.0
    muon.step()
    for name, (lr, decay) in found.items():
        if kinds[name] not in (Role.READER, Role.WRITER):
            assert lr == 0.01, name
            continue
        assert (lr, decay) == pytest.approx((0.01 * m**-0.5, 0.1 * m**0.5), rel=1e-12), name
        moved = torch.linalg.matrix_norm(model.get_parameter(name).detach() - before[name], ord=2).item()
        # lr 0.2 sqrt(longer side), the same for all m; five steps of Newton and Schulz leave singular values of 0.7 to 1.2.
        longer = max(before[name].shape) / m
        assert 0.7 <= moved / (0.01 * 0.2 * longer**0.5) <= 1.25, name


def stream_before_the_head(method: str, width: int) -> float:
    """Root mean square of what the last norm gets at initial weights, drawn by muP; its check of scales left out."""
    model = Decoder(dims_of(width, vocab_size=64), methods.load(method))
    model.initial, model.width_ratio, model.std_factors = (
        Initial(),
        width / BASE,
        mup(width / BASE).std_factors,
    )
    model.reset(0)
    seen: list[float] = []
    model.norm.register_forward_pre_hook(
        lambda module, given: seen.append(given[0].square().mean().sqrt().item())
    )
    model(torch.arange(64)[None])
    return seen[0]


def test_a_start_that_follows_from_the_width_is_refused_because_the_stream_grows() -> None:
    """16 times as wide, the stream of a factor sqrt(d_model) is four times as large, and the baseline's is not."""
    growth = {
        name: stream_before_the_head(name, 16 * BASE) / stream_before_the_head(name, BASE)
        for name in ("dyt", "gpt")
    }
    # A root mean square of 64 rows of 32 normal values is off by 1 / sqrt(2 * 2048) = 1.6%.
    assert growth == {"dyt": pytest.approx(4, rel=0.05), "gpt": pytest.approx(1, rel=0.05)}
    for width in (BASE, 2 * BASE):  # at the base too, where settings are tuned for the wider models
        with pytest.raises(
            ConfigError, match=r"embed\.factor starts at \S+ here and at \S+ at twice the width; take sp"
        ):
            build("dyt", "mup", width)


# --- formulas ---------------------------------------------------------------------------------------------------------

MUP = {
    # m -> role -> (std, lr, decay) of two layers: writers have 0.02 / sqrt(4). 0.01 and 0.1 are the config's.
    2: {
        "embedding": (0.02, 0.01, 0.1),
        "unembedding": (0.02, 0.01, 0.1),
        "reader": (0.02 / 2**0.5, 0.005, 0.2),
        "writer": (0.01 / 2**0.5, 0.005, 0.2),
        "scale": (None, 0.01, 0.0),
    },
    4: {
        "embedding": (0.02, 0.01, 0.1),
        "unembedding": (0.02, 0.01, 0.1),
        "reader": (0.01, 0.0025, 0.4),
        "writer": (0.005, 0.0025, 0.4),
        "scale": (None, 0.01, 0.0),
    },
}
NUGPT = {
    2: {"embedding": 0.01 / 2**0.5, "other": 0.01 / 2**0.75, "scale": 0.01, "s_z": 2**0.5},
    4: {"embedding": 0.005, "other": 0.01 / 8**0.5, "scale": 0.01, "s_z": 2.0},
}


@every_method
@pytest.mark.parametrize("m", [2, 4])
def test_mup_rates_and_decay(method: str, m: int) -> None:
    model, adam = build(method, "mup", m * BASE)
    assert model.hidden_divisor == m
    kinds = roles(model)
    for name, (lr, decay) in numbers(model, adam).items():
        _, want_lr, want_decay = MUP[m][kinds[name]]
        assert (lr, decay) == pytest.approx((want_lr, want_decay), rel=1e-12), name
        if kinds[name] in (Role.READER, Role.WRITER):
            assert lr * decay == pytest.approx(0.01 * 0.1), "a step decays by lr * decay, equal at all widths"


@every_method
@pytest.mark.parametrize("name", ["sp", "mup"])
def test_a_step_without_gradient_decays_matrices_alike_at_all_widths(method: str, name: str) -> None:
    """What the formulas are for: under muP, too, a step takes lr * decay = 0.001 of every matrix, and nothing of a scale."""
    for m in (1, 2, 4):
        model, adam = build(method, name, m * BASE)
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        for weight in model.parameters():
            weight.grad = torch.zeros_like(weight)
        adam.step()
        kinds = roles(model)
        for key, weight in model.named_parameters():
            kept = 1.0 if kinds[key] is Role.SCALE else 1 - 0.01 * 0.1
            torch.testing.assert_close(weight.detach(), before[key] * kept, rtol=3e-7, atol=0, msg=key)


@pytest.mark.parametrize("m", [2, 4])
def test_mup_initial_std(m: int) -> None:
    model, _ = build("gpt", "mup", m * BASE, vocab_size=3001)
    for name, weight in model.named_parameters():
        std = MUP[m][role(name)][0]
        assert std is not None
        measured = weight.detach().square().mean().sqrt().item()
        # The error of a root mean square of n normal values is std / sqrt(2 n).
        assert abs(measured - std) <= 3 * std / (2 * weight.numel()) ** 0.5, name


@every_method
def test_mup_leaves_the_start_of_scales_and_of_the_unembedding(method: str) -> None:
    (plain, _), (model, _) = (build(method, name, 2 * BASE) for name in ("sp", "mup"))
    assert torch.equal(model.E_out, plain.E_out), "the base is drawn like its wider models"
    for one, two in zip(plain.modules(), model.modules(), strict=True):
        if isinstance(one, Scale) and isinstance(two, Scale):
            assert (one.init, one.scale) == (two.init, two.scale)


@every_normalized
@pytest.mark.parametrize("m", [2, 4])
def test_nugpt_rates_and_scales(method: str, m: int) -> None:
    model, adam = build(method, "nugpt", m * BASE)
    assert model.hidden_divisor == 1 and not model.std_factors
    want = NUGPT[m]
    for name, (lr, decay) in numbers(model, adam).items():
        assert lr == pytest.approx(want.get(role(name), want["other"]), rel=1e-12), name
        assert decay == (0.0 if role(name) is Role.SCALE else 0.1)
    for name, scale in model.named_modules():
        if isinstance(scale, Scale):
            kind = name.rpartition(".")[2]
            stored = 1.0 if kind in ("s_u", "s_v") else 0.03
            assert scale.scale == stored and bool((scale.stored == stored).all()), name
            if kind == "s_z":
                assert scale.init == pytest.approx(want["s_z"])
                torch.testing.assert_close(scale.effective(), torch.full((23,), want["s_z"]))


# alpha starts at 0.05 / m_depth; every rate is multiplied by m_data^(-1/3).
@every_normalized
@pytest.mark.parametrize(
    ("layers", "base", "alpha"), [(4, 1, 0.0125), (2, 2, 0.05), (1, 2, 0.1), (4, 10, 0.125)]
)
def test_nugpt_over_depth(method: str, layers: int, base: int, alpha: float) -> None:
    dims = dims_of(2 * BASE, num_layers=layers)
    param = param_of("nugpt").model_copy(update={"base_layers": base})
    plain, deep = (build_model(method, dims, seed=3, param=p) for p in (param_of("nugpt"), param))
    for (name, one), other in zip(plain.named_modules(), deep.modules(), strict=True):
        if isinstance(one, Scale) and isinstance(other, Scale):
            assert other.scale == one.scale
            if name.endswith("alpha"):
                assert other.init == pytest.approx(alpha, rel=1e-12)
                torch.testing.assert_close(other.effective(), torch.full((2 * BASE,), alpha))
            else:
                assert other.init == one.init
    ours, theirs = (rules(p, dims, tokens=None).by_role for p in (param, param_of("nugpt")))
    assert ours == theirs, "learning rates have no rule over depth"


@every_normalized
@pytest.mark.parametrize(("tokens", "factor"), [(1000, 1.0), (8000, 0.5), (125, 2.0)])
def test_nugpt_over_the_horizon(method: str, tokens: int, factor: float) -> None:
    dims = dims_of(2 * BASE)
    param = param_of("nugpt").model_copy(update={"base_tokens": 1000})
    plain, long = (rules(p, dims, tokens=tokens) for p in (param_of("nugpt"), param))
    assert long.by_scale == plain.by_scale
    for kind in Role:
        want = replace(plain.by_role[kind], lr=plain.by_role[kind].lr * factor)
        assert long.by_role[kind].lr == pytest.approx(want.lr, rel=1e-12)
        assert replace(long.by_role[kind], lr=want.lr) == want
    model = build_model(method, dims, param=param)
    rates = numbers(model, make_optimizer(model, CONFIG, long))
    assert rates["E_in"][0] == pytest.approx(0.01 * factor / 2**0.5)
    assert rates["logits_map.s_z.stored"][0] == pytest.approx(0.01 * factor)


def test_sp_changes_nothing() -> None:
    assert sp().by_role == {kind: Rule() for kind in Role}
    assert sp().hidden_divisor == 1 and not sp().by_scale and not sp().std_factors
    assert mup(1.0).by_role == nugpt(1.0).by_role == sp().by_role


@pytest.mark.parametrize("m", [0.25, 0.5])
def test_narrower_than_the_base_is_fine(m: float) -> None:
    assert mup(m).by_role[Role.READER] == Rule(init_std=m**-0.5, lr=1 / m, weight_decay=m)


# --- the table that people see ----------------------------------------------------------------------------------------


@every_method
@pytest.mark.parametrize("name", ["sp", "mup"])
def test_the_table_covers_every_parameter_once(method: str, name: str) -> None:
    model, adam = build(method, name, 2 * BASE)
    table = rules(param_of(name), model.dims, tokens=None)
    shown = {row.tensor: row for row in rows(model, CONFIG, table)}
    taken, kinds = numbers(model, adam), roles(model)
    for parameter, (lr, decay) in taken.items():
        row = shown[
            parameter.replace("blocks.0", "blocks.*").replace("blocks.1", "blocks.*").removesuffix(".stored")
        ]
        assert (row.lr, row.decay, row.role) == (lr, decay, kinds[parameter])
    assert len(shown) == len({re.sub(r"^blocks\.\d+", "blocks.*", parameter) for parameter in taken})


def test_the_table_reads_well() -> None:
    model, _ = build("ngpt", "nugpt", 2 * BASE)
    lines = text(model, CONFIG, nugpt(2.0)).splitlines()
    assert lines[0].split() == ["tensor", "role", "shape", "std", "optimizer", "lr", "decay"]
    assert "logits_map.s_z" in lines[-2] and "1.414 stored 0.03" in lines[-2]
    assert any(line.split()[:5] == ["blocks.*.attn.W_q", "reader", "64", "x", "64"] for line in lines)


# --- wrong combinations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rules": "mup"}, "give a base width"),
        ({"rules": "nugpt", "base_width": 0}, "give a base width"),
        ({"rules": "sp", "base_width": 64}, "none for sp"),
        ({"rules": "mup", "base_width": 32, "base_layers": 2}, "param.base_layers 2 with param.rules mup"),
        ({"rules": "sp", "base_tokens": 9}, "param.base_tokens 9 with param.rules sp"),
        ({"rules": "nugpt", "base_width": 32, "base_layers": -1}, "greater than or equal to 0"),
        ({"rules": "mu"}, "'sp', 'mup' or 'nugpt'"),
        ({"rules": "mup", "base_width": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_settings(fields: dict[str, object], words: str) -> None:
    model = {"vocab_size": 5, "num_layers": 1, "num_heads": 2, "d_model": 32}
    with pytest.raises(ConfigError, match=words):
        parse({"name": "x", "method": "x", "model": model, "param": fields}, origin="a test")


@pytest.mark.parametrize("name", ["mup", "nugpt"])
@pytest.mark.parametrize("base", [8, 24, 40])
def test_a_base_of_another_head_width_is_refused(name: str, base: int) -> None:
    with pytest.raises(
        ConfigError, match=f"base_width {base} is no multiple of the head width 16.*num_heads"
    ):
        build_model("ngpt", dims_of(64), param=param_of(name, base))


@pytest.mark.parametrize("method", free)
def test_nugpt_is_for_normalized_methods(method: str) -> None:
    with pytest.raises(ConfigError, match="constrain their weights"):
        build_model(method, dims_of(64), param=param_of("nugpt"))


def test_nugpt_needs_scaled_logits() -> None:
    plain = replace(methods.load("ngpt"), logits=PlainLogits())
    with pytest.raises(ConfigError, match="s_z"):
        build_model(plain, dims_of(64), param=param_of("nugpt"))


def test_an_unnamed_scale_is_an_error_where_kinds_matter() -> None:
    model = Decoder(dims_of(64), methods.load("ngpt"))
    model.s_new = Scale(3, init=1.0, scale=1.0)
    apply(model, mup(2.0))
    with pytest.raises(ConfigError, match=r"'s_new' has no kind.*s_qk"):
        apply(model, nugpt(2.0))


def test_a_parameter_without_a_role_is_an_error() -> None:
    model = Decoder(dims_of(64), methods.load("gpt"))
    model.extra = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(ConfigError, match="no role"):
        apply(model, sp())


def test_an_incomplete_table_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="every role"):
        Rules({Role.READER: Rule()})
    with pytest.raises(AssertionError, match="all kinds"):
        Rules(sp().by_role, {ScaleKind.QK: nugpt(1.0).by_scale[ScaleKind.QK]})


def test_an_optimizer_of_other_rules_is_our_own_mistake() -> None:
    model, _ = build("gpt", "mup", 2 * BASE)
    with pytest.raises(AssertionError, match="other rules"):
        make_optimizer(model, CONFIG)
