"""The coordinate check passes where rules are right and fails where they are wrong: its controls.

Three widths, a few steps, one seed: slopes are within 0.05 of those at the command's own widths.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest
import torch

from ngptlab import Dims, Parts, build_model, methods
from ngptlab.cli import main
from ngptlab.nn.blocks import GatedMlp
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.roles import ScaleKind
from ngptlab.param.rules import NUGPT_STORED, Rule, Rules, ScaleRule, mup, nugpt, sp
from ngptlab.studies.coord.numbers import Point, Slope, passed, slopes, worst
from ngptlab.studies.coord.probes import KINDS, activations, unit_stream
from ngptlab.studies.coord.run import CoordConfig, measure

CONFIG = CoordConfig(widths=(32, 64, 128), steps=6, seeds=1, batch_size=2)
BASE = 32


def init_only(m: float) -> Rules:
    """Broken: muP's initial values, SP's learning rates, and no divisor."""
    return Rules({role: Rule(init_std=rule.init_std) for role, rule in mup(m).by_role.items()})


def no_logit_rule(m: float) -> Rules:
    """Broken: muP's initial values and learning rates, but the head reads the hidden state undivided."""
    return replace(mup(m), hidden_divisor=1.0)


def scales_only(m: float) -> Rules:
    """Broken: nuGPT's scales, SP's learning rates."""
    return replace(nugpt(m), by_role=sp().by_role)


def no_s_z_rule(m: float) -> Rules:
    """Broken: nuGPT's learning rates, but logits that start as small as the cosines behind them."""
    rules = nugpt(m)
    return replace(rules, by_scale={**rules.by_scale, ScaleKind.LOGITS: ScaleRule(stored=NUGPT_STORED)})


def check(method: str, table: Callable[[float], Rules]) -> dict[tuple[str, str], Slope]:
    points = measure(methods.load(method), lambda dims: table(dims.d_model / BASE), CONFIG)
    return {(slope.kind, slope.quantity): slope for slope in worst(slopes(points))}


def slope_of(found: dict[tuple[str, str], Slope], kind: str, quantity: str = "change") -> float:
    slope = found[kind, quantity].slope
    assert slope is not None
    return slope


# --- verdicts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gpt", "qk_norm", "muon"])
def test_mup_passes(method: str) -> None:
    found = check(method, mup)
    assert passed(found.values()), found


@pytest.mark.parametrize("method", ["ngpt", "ngpt_modded"])
def test_nugpt_passes(method: str) -> None:
    found = check(method, nugpt)
    assert passed(found.values()), found


OF_STRUCTURE = {seam.name: seam.default for seam in fields(Parts) if seam.default is not MISSING}
OF_PLAIN_STRUCTURE = [
    name
    for name in methods.names()
    if all(getattr(methods.load(name), seam) == part for seam, part in OF_STRUCTURE.items())
    and methods.load(name).optimizer == AdamW()
]


@pytest.mark.parametrize("method", OF_PLAIN_STRUCTURE)
def test_sp_fails(method: str) -> None:
    assert not passed(check(method, lambda m: sp()).values())


@pytest.mark.parametrize("table", [init_only, no_logit_rule])
def test_partial_mup_fails(table: Callable[[float], Rules]) -> None:
    assert not passed(check("gpt", table).values())


@pytest.mark.parametrize("method", ["ngpt", "ngpt_modded"])
def test_partial_nugpt_fails_where_it_is_broken(method: str) -> None:
    still = check(method, scales_only)
    assert not passed(still.values()) and slope_of(still, "embedding") > 0.4
    dim = check(method, no_s_z_rule)
    assert not passed(dim.values()) and slope_of(dim, "logits", "size") < -0.3
    assert abs(slope_of(dim, "embedding")) < 0.2, "the other rules are there"


def test_partial_mup_fails_where_it_is_broken() -> None:
    assert slope_of(check("gpt", init_only), "gate v") > 0.4, "hidden matrices move too fast"
    without = check("gpt", no_logit_rule)
    assert slope_of(without, "logits") > 0.4
    assert abs(slope_of(without, "embedding")) < 0.2, "the other rules are there"


def as_adamw(m: float) -> Rules:
    """Broken: what Muon moves has AdamW's rules."""
    return replace(mup(m), by_kind={"Muon": mup(m).by_role})


def muon_free(m: float) -> Rules:
    """Broken: what Muon moves has muP's initial values and SP's learning rates."""
    rules = mup(m)
    free = {role: Rule(init_std=rule.init_std) for role, rule in rules.by_kind["Muon"].items()}
    return replace(rules, by_kind={"Muon": free})


def test_mup_for_muon_is_a_table_of_its_own() -> None:
    """By AdamW's, matrices of wide models hardly move; by none, they move as far as the root of the width says."""
    slow, fast = check("muon", as_adamw), check("muon", muon_free)
    assert not passed(slow.values()) and slope_of(slow, "mlp out") < -0.15
    assert not passed(fast.values()) and slope_of(fast, "mlp out") > 0.4


def test_mup_on_unit_weights_fails_where_theory_says() -> None:
    """Rows of unit norm have entries of size d_model^-0.5, which a step of the same size moves the more the wider they are;
    and logits of unit vectors are bounded, so that dividing the hidden state by m makes them vanish as 1/m. Partial muP is no
    control for these methods, therefore: muP itself fails; partial nuGPT is."""
    found = check("ngpt_modded", mup)
    assert not passed(found.values())
    assert slope_of(found, "embedding") == pytest.approx(0.5, abs=0.1)
    assert slope_of(found, "logits", "size") == pytest.approx(-1.0, abs=0.25)


# --- what is measured -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", methods.names())
def test_probes_read_every_kind_and_leave_the_model_alone(method: str) -> None:
    model = build_model(method, CONFIG.dims(32))
    tokens = torch.arange(24).view(2, 12)
    before = model(tokens)
    found = activations(model, tokens)
    assert tuple(found) == KINDS
    gated = methods.load(method).mlp == GatedMlp()
    blocks = {kind: 1 if kind in ("embedding", "head input", "logits") else 2 for kind in KINDS}
    blocks["gate v"] = 2 if gated else 0
    assert {kind: len(values) for kind, values in found.items()} == blocks
    assert torch.equal(found["logits"][0], before) and torch.equal(model(tokens), before)
    assert len(activations(model, tokens)["stream"]) == 2, "hooks of the last time are gone"
    T = 12 + model.embed.prefix
    assert not gated or found["gate v"][0].shape == (2, T, model.dims.d_ff)
    assert found["scores"][0].shape == (2, 2, T * (T + 1) // 2)


def test_scores_are_those_that_the_softmax_gets() -> None:
    model = build_model("gpt", Dims(vocab_size=7, num_layers=1, num_heads=1, d_model=4), seed=1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(30)
    tokens = torch.tensor([[3, 5]])
    found = activations(model, tokens)
    h_TD = torch.nn.functional.rms_norm(model.E_in[tokens[0]], (4,))
    attn = model.blocks[0].attn
    first = (h_TD[0] @ attn.W_q.T) @ (h_TD[0] @ attn.W_k.T) / 2  # position 0 is not rotated
    torch.testing.assert_close(found["scores"][0][0, 0, 0], first)


@pytest.mark.parametrize("method", methods.names())
def test_unit_hidden_states_are_found_by_measuring(method: str) -> None:
    model = build_model(method, CONFIG.dims(32))
    norms = model.E_in.norm(dim=1)
    unit = bool(((norms - 1).abs() < 1e-5).all())
    assert unit_stream(activations(model, torch.arange(8).view(1, 8))) == unit


def test_the_constraint_holds_inside_the_loop() -> None:
    """At a large rate, unit rows keep their size, (2 / pi)^0.5 after times d_model^0.5; free ones would grow threefold."""
    config = CONFIG.model_copy(update={"lr": 2**-4, "widths": (32, 64)})
    points = [p for p in measure(methods.load("ngpt"), lambda dims: sp(), config) if p.kind == "embedding"]
    assert all(0.65 < point.size < 1 for point in points)
    assert max(point.change for point in points) > 0.5


def test_the_unembedding_starts_alike_at_all_widths_the_base_included() -> None:
    """A base with a drawn head beside wider models with a zero one passed before, because it was not among the widths."""
    for table in (mup, lambda m: sp()):
        points = measure(methods.load("gpt"), lambda dims: table(dims.d_model / BASE), CONFIG)  # noqa: B023
        first = {p.width: p.size for p in points if p.kind == "logits" and p.step == 0}
        assert len({size == 0 for size in first.values()}) == 1, first


def test_points_are_complete_and_repeatable() -> None:
    config = CoordConfig(widths=(16, 32), steps=2, seeds=2, batch_size=1)

    def run() -> list[Point]:
        return list(measure(methods.load("gpt"), lambda dims: sp(), config))

    points = run()
    assert len(points) == 2 * 2 * 3 * len(KINDS)
    assert all(point.change == 0 for point in points if point.step == 0)
    assert points == run()


# --- the verb ---------------------------------------------------------------------------------------------------------

SMALL = ["--widths", "64", "128", "256", "--steps", "4", "--seeds", "1"]


def test_verb_passes_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "coord", "gpt", *SMALL, "--out", str(tmp_path / "c")]) == 0
    page = capsys.readouterr().out
    assert "gpt, mup" in page and ": pass" in page and "beyond a limit" not in page
    record = json.loads((tmp_path / "c" / "coord.json").read_text())
    assert record["passed"] and record["param"]["rules"] == "mup" and record["param"]["base_width"] == 64
    assert record["limit"] == 0.3 and len(record["points"]) == 3 * 5 * len(KINDS)
    assert (tmp_path / "c" / "coord.png").read_bytes().startswith(b"\x89PNG")


def test_verb_fails_with_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "coord", "gpt", "--param", "sp", *SMALL, "--out", str(tmp_path)]) == 1
    page = capsys.readouterr().out
    assert ": FAIL" in page and "<- beyond a limit" in page


def test_verb_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "table", "gpt", "--param", "mup", "--width", "256", "--base", "64"]) == 0
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["E_out"][1:] == ["unembedding", "257", "x", "256", "0.02", "AdamW", "0.001953", "0.1"]
    assert lines["blocks.*.attn.W_q"][1:] == [
        "reader",
        "256",
        "x",
        "256",
        "0.01",
        "AdamW",
        "0.0004883",
        "0.4",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["coord", "gpt", "--widths", "64"], "two or more, ascending"),
        (["coord", "gpt", "--widths", "64", "72"], "multiple of the head width 16"),
        (["coord", "gpt", "--widths", "64", "32"], "ascending"),
        (["coord", "gpt", "--steps", "1"], "steps"),
        (["coord", "gpt", "--lr", "0"], "lr"),
        (["coord", "gpt", "--widths", "24", "48", "--base", "24"], "a multiple of the head width 16"),
        (["coord", "gpt", "--base", "0"], "--base 0: not among --widths"),
        (["coord", "gpt", "--param", "mu"], "'sp', 'mup' or 'nugpt'"),
        (["coord", "gpt", "--param", "nugpt"], "constrain their weights"),
        (["coord", "gtp"], "did you mean 'gpt'"),
        (["table", "gpt", "--width", "100"], "no multiple of --head-width"),
        (["table", "gpt", "--base", "96"], "base_width 96 is no multiple"),
        (["cord", "gpt"], "--help"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and not said.out
    assert not list(tmp_path.glob("out*"))
