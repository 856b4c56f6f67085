"""The package's models against the literal equations of `paper.py`, far from their initial weights.

At initialisation every scale is constant and every alpha positive, so that a wrong order of operations, a
missing absolute value or a shared vector can't be seen: all weights are perturbed first. The checks are
checked too: wrong equations and wrong models must be told from the right ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import paper
import pytest
import torch
from agreement import WRONG, close, gap, sequences, weights_of
from torch import Tensor, nn

from ngptlab import Decoder, Dims, build_model
from ngptlab.conformance.models import noisy
from ngptlab.methods import load
from ngptlab.nn.parts import HeadWidthPower
from ngptlab.nn.rope import rope_tables

EQUATIONS = {
    "ngpt": paper.PAPER,
    "ngpt_modded": paper.MODDED,
    "ngpt_s_z_scale_one": paper.S_Z_SCALE_ONE,
    "ngpt_s_qk_init_third": paper.S_QK_INIT_THIRD,
    "ngpt_scalar_scales": paper.SCALARS,
    "ngpt_fixed_scales": paper.FIXED,
    "ngpt_no_qk_norm": paper.NO_QK_NORM,
}
LOGITS = {"gpt": paper.gpt_logits} | {
    method: partial(paper.normalized_logits, equations=equations) for method, equations in EQUATIONS.items()
}

TWO_HEADS = Dims(vocab_size=11, num_layers=2, num_heads=2, d_model=8, d_ff=10)
ONE_HEAD = Dims(vocab_size=7, num_layers=1, num_heads=1, d_model=6, d_ff=16)
FOUR_HEADS = Dims(vocab_size=5, num_layers=3, num_heads=4, d_model=8, d_ff=3)

# Sizes, context, seed: every context from 1 to 6, head widths 2, 4 and 6.
CASES = [(TWO_HEADS, 5, 0), (TWO_HEADS, 6, 1), (TWO_HEADS, 1, 2), (ONE_HEAD, 2, 3), (ONE_HEAD, 6, 4)]
CASES += [(FOUR_HEADS, 3, 5), (FOUR_HEADS, 4, 6)]
every_case = pytest.mark.parametrize(("dims", "context", "seed"), CASES)
every_method = pytest.mark.parametrize("method", list(LOGITS))
every_ngpt = pytest.mark.parametrize("method", list(EQUATIONS))


def every_ngpt_with(scale: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "method", [m for m, equations in EQUATIONS.items() if scale not in equations.fixed]
    )


@torch.no_grad()
def perturbed(method: str, dims: Dims, seed: int) -> Decoder:
    """A float64 model with every weight away from its initial value and from the constraint."""
    model = noisy(build_model(method, dims, seed=seed).double(), 1000 + seed, scales=0.5, weights=0.3)
    for name, weight in model.named_parameters():
        if name.endswith(".alpha.stored"):
            weight.mul_(1 if method == "ngpt_modded" else 5)  # to about 0.25, as training does, or 1/L
            weight[::2].neg_()
    return model


# ---- agreement -------------------------------------------------------------------------------------------


@every_method
@every_case
def test_logits_loss_and_gradients_are_the_equations(
    method: str, dims: Dims, context: int, seed: int
) -> None:
    model = perturbed(method, dims, seed)
    tokens, targets = sequences(dims, context, seed)
    weights = weights_of(model)

    logits, expected = model(tokens), LOGITS[method](weights, tokens, dims)
    assert logits.dtype == torch.float64
    close(logits, expected, of="logits")

    loss, expected_loss = model.loss(tokens, targets), paper.cross_entropy(expected, targets)
    close(loss, expected_loss, of="loss")

    loss.backward()
    expected_loss.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and weights[name].grad is not None, f"{name} takes no part"
        close(weight.grad, weights[name].grad, of=name)


@every_method
@every_case
def test_float32_model_is_near_the_equations(method: str, dims: Dims, context: int, seed: int) -> None:
    model = perturbed(method, dims, seed).float()
    tokens, targets = sequences(dims, context, seed)
    eps = torch.finfo(torch.float32).eps
    own_eps = {"rms_eps": eps} if method == "gpt" else {}
    expected = LOGITS[method](weights_of(model), tokens, dims, **own_eps)  # of the same, rounded weights

    # Some ten roundings follow each other in a branch, and norms of short vectors amplify: allow 64.
    tolerance = 64 * eps * max(1.0, gap(expected, torch.zeros(())))
    assert model(tokens).dtype == torch.float32
    assert gap(model(tokens), expected) < tolerance
    assert gap(model.loss(tokens, targets), paper.cross_entropy(expected, targets)) < tolerance


@every_method
def test_training_steps_stay_together(method: str) -> None:
    """Gradient steps, each followed by the constraint, as a run is made of."""
    model = perturbed(method, TWO_HEADS, seed=8)
    weights = weights_of(model)
    losses = []
    for step in range(4):
        tokens, targets = sequences(TWO_HEADS, 5, seed=100)
        loss = model.loss(tokens, targets)
        expected = paper.cross_entropy(LOGITS[method](weights, tokens, TWO_HEADS), targets)
        close(loss, expected, of=f"loss at step {step}")
        losses.append(float(loss.detach()))
        gradients = dict(zip(weights, torch.autograd.grad(expected, list(weights.values())), strict=True))
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for weight in model.parameters():
                weight.sub_(0.05 * weight.grad)
            model.after_step()
            stepped = {name: w - 0.05 * gradients[name] for name, w in weights.items()}
            if method in EQUATIONS:
                stepped = paper.unit_norm_constraint(stepped)
        weights = {name: w.detach().requires_grad_() for name, w in stepped.items()}
    assert losses[-1] < losses[1], "from the first constraint on, steps on one batch descend"


@every_ngpt
def test_scales_start_where_the_paper_puts_them(method: str) -> None:
    """A stored scale starts at `scale`, so that what acts is `init`: the factors in paper.py then apply."""
    small = 1 / math.sqrt(TWO_HEADS.d_model)
    stored = {
        "alpha": small,
        "s_qk": small,
        "s_u": 1.0,
        "s_v": 1.0,
        "s_z": EQUATIONS[method].s_z_scale(TWO_HEADS),
    }
    seen = set()
    for name, weight in build_model(method, TWO_HEADS, seed=0).named_parameters():
        if name.endswith(".stored"):
            kind = name.split(".")[-2]
            seen.add(kind)
            assert gap(weight, torch.full_like(weight, stored[kind])) < 1e-7, name
    assert seen == set(stored) - EQUATIONS[method].fixed


# ---- constraint ------------------------------------------------------------------------------------------


@every_ngpt
@every_case
def test_after_step_is_the_literal_constraint(method: str, dims: Dims, context: int, seed: int) -> None:
    model = perturbed(method, dims, seed)
    before = weights_of(model)
    expected = paper.unit_norm_constraint(before)
    model.after_step()
    for name, weight in model.named_parameters():
        assert gap(weight, expected[name]) <= 1e-12, name
        if name.endswith(".stored"):
            assert torch.equal(weight, before[name]), f"{name} is a scale and must be left alone"
        else:
            assert gap(weight, before[name]) > WRONG, f"{name} was on the sphere before"


def test_after_step_leaves_gpt_alone() -> None:
    model = perturbed("gpt", TWO_HEADS, seed=0)
    before = weights_of(model)
    model.after_step()
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name]), name


@every_ngpt
def test_the_wrong_axis_of_a_writer_is_seen(method: str) -> None:
    model = perturbed(method, TWO_HEADS, seed=0)
    before = weights_of(model)
    model.after_step()
    after = dict(model.named_parameters())
    writers = [name for name in after if name.endswith(".W_o")]
    assert len(writers) == 2 * TWO_HEADS.num_layers
    for name in writers:  # rows instead of columns; for the attention's square W_o no shape would tell
        wrong = torch.stack([paper.unit(row) for row in before[name]])
        assert gap(after[name], wrong) > WRONG, name


# ---- wrong equations, wrong models -----------------------------------------------------------------------


def silu_on_u(u_F: Tensor, v_F: Tensor, s_u_F: Tensor, s_v_F: Tensor, d_model: int) -> Tensor:
    return paper.silu(u_F * s_u_F) * (v_F * s_v_F * math.sqrt(d_model))


def signed_alpha(h: Tensor, branch: Tensor, alpha: Tensor) -> Tensor:
    return paper.unit(h + alpha * (paper.unit(branch) - h))


def branch_not_normed(h: Tensor, branch: Tensor, alpha: Tensor) -> Tensor:
    return paper.unit(h + torch.abs(alpha) * (branch - h))


def neighbours_rotated(x_K: Tensor, position: int) -> Tensor:
    """RoPE on the pairs (2j, 2j + 1) instead of (j, j + K/2)."""
    first, second = right_rope(torch.cat((x_K[0::2], x_K[1::2])), position).chunk(2)
    return torch.stack((first, second), dim=1).flatten()


right_rope = paper.rope

WRONG_EQUATIONS = {
    "ngpt": {
        "s_qk before RoPE": {"qk": paper.qk_modded},
        "one s_qk for all heads": {"head_s_qk": lambda s_qk_HK, head: s_qk_HK[0]},
        "SiLU on u": {"gate": silu_on_u},
        "no sqrt(d_model) on v": {"gate": lambda u, v, s_u, s_v, _: paper.gate(u, v, s_u, s_v, 1)},
        "alpha with its sign": {"move": signed_alpha},
        "branch not normed": {"move": branch_not_normed},
        "scores divided by sqrt(d_head)": {"attn_scale": lambda d_head: d_head**-0.5},
        "alpha from 1/L": {"alpha_init": paper.MODDED.alpha_init},
    },
    "ngpt_modded": {
        "RoPE before s_qk": {"qk": paper.qk_paper},
        "SiLU on u": {"gate": silu_on_u},
        "alpha with its sign": {"move": signed_alpha},
        "alpha from 0.05": {"alpha_init": paper.PAPER.alpha_init},
    },
    "ngpt_s_z_scale_one": {"s_z stored as in nGPT": {"s_z_scale": paper.PAPER.s_z_scale}},
    "ngpt_s_qk_init_third": {"s_qk from 1": {"s_qk_init": 1.0}},
    "ngpt_scalar_scales": {"alpha with its sign": {"move": signed_alpha}},
    "ngpt_fixed_scales": {
        "no sqrt(d_model) on v": {"gate": lambda u, v, s_u, s_v, _: paper.gate(u, v, s_u, s_v, 1)}
    },
    "ngpt_no_qk_norm": {
        "queries and keys normed": {"qk": paper.qk_paper},
        "s_qk before RoPE": {"qk": lambda x_K, position, s_K: paper.rope(x_K * s_K, position)},
        "scores divided by sqrt(d_head)": {"attn_scale": lambda d_head: d_head**-0.5},
    },
}


@pytest.mark.parametrize(
    ("method", "what"), [(m, w) for m, wrongs in WRONG_EQUATIONS.items() for w in wrongs]
)
def test_wrong_equations_disagree(method: str, what: str) -> None:
    wrong = replace(EQUATIONS[method], **WRONG_EQUATIONS[method][what])
    model = perturbed(method, TWO_HEADS, seed=0)
    tokens, _ = sequences(TWO_HEADS, 6, seed=0)
    weights = weights_of(model)
    assert gap(model(tokens), paper.normalized_logits(weights, tokens, TWO_HEADS, EQUATIONS[method])) < 1e-9
    assert gap(model(tokens), paper.normalized_logits(weights, tokens, TWO_HEADS, wrong)) > WRONG


@every_method
def test_rope_on_neighbouring_channels_disagrees(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = perturbed(method, TWO_HEADS, seed=0)
    tokens, _ = sequences(TWO_HEADS, 6, seed=0)
    monkeypatch.setattr(paper, "rope", neighbours_rotated)
    assert gap(model(tokens), LOGITS[method](weights_of(model), tokens, TWO_HEADS)) > WRONG


class _AddToNormed(nn.Module):
    def forward(self, h_BTD: Tensor, branch_BTD: Tensor) -> Tensor:
        return nn.functional.rms_norm(h_BTD, h_BTD.shape[-1:]) + branch_BTD


@dataclass(frozen=True)
class AddToNormed:
    """norm(h) + branch: how the first release of NVIDIA/ngpt broke its own baseline (its issue 1)."""

    def build(self, dims: Dims) -> nn.Module:
        return _AddToNormed()


def test_a_baseline_that_adds_to_the_normed_stream_disagrees() -> None:
    right = perturbed("gpt", TWO_HEADS, seed=0)
    wrong = build_model(replace(load("gpt"), residual=AddToNormed()), TWO_HEADS).double()
    wrong.load_state_dict(right.state_dict())
    tokens, _ = sequences(TWO_HEADS, 5, seed=0)
    expected = paper.gpt_logits(weights_of(right), tokens, TWO_HEADS)
    assert gap(right(tokens), expected) < 1e-9
    assert gap(wrong(tokens), expected) > WRONG


# ---- relative positions ----------------------------------------------------------------------------------

PLACES = {
    "gpt": lambda x_K, position, s_K: paper.rope(x_K, position),
    "ngpt": paper.qk_paper,
    "ngpt_modded": paper.qk_modded,
}


def literal_scores(method: str, q_K: Tensor, k_K: Tensor, s_K: Tensor, length: int) -> Tensor:
    """Scores of one query and one key content at all pairs of positions, [T, T]."""
    place = PLACES[method]
    pairs = [place(q_K, t, s_K) @ place(k_K, s, s_K) for t in range(length) for s in range(length)]
    return torch.stack(pairs).view(length, length)


def model_scores(method: str, q_K: Tensor, k_K: Tensor, s_K: Tensor, length: int) -> Tensor:
    """The same by the package's own attention, with one head."""
    dims = Dims(vocab_size=5, num_layers=1, num_heads=1, d_model=len(q_K), d_ff=4)
    qk = build_model(method, dims).double().blocks[0].attn.qk
    for stored in qk.parameters():
        with torch.no_grad():
            stored.copy_((s_K / math.sqrt(dims.d_model)).expand_as(stored))
    everywhere = (x.expand(1, length, 1, -1) for x in (q_K, k_K))
    q_BTHK, k_BTHK = qk(*everywhere, rope_tables(length, 1, len(q_K), like=q_K))
    return (q_BTHK[0, :, 0] @ k_BTHK[0, :, 0].mT).detach()


def spread(scores_TT: Tensor) -> float:
    """How much scores of equal distance differ, at most."""
    length = len(scores_TT)
    diagonals = (scores_TT.diagonal(offset) for offset in range(1 - length, length))
    return max(float(d.max() - d.min()) for d in diagonals)


@pytest.mark.parametrize("scores", [literal_scores, model_scores])
def test_what_makes_scores_relative(scores: Callable[[str, Tensor, Tensor, Tensor, int], Tensor]) -> None:
    """Scores depend on distance alone, unless RoPE comes first and s_qk differs within a rotated pair."""
    generator = torch.Generator().manual_seed(0)
    q_K, k_K, noise_K = torch.randn((3, 8), generator=generator, dtype=torch.float64)
    uneven = torch.exp(0.5 * noise_K)
    paired = torch.cat((uneven[:4], uneven[:4]))  # equal for channels j and j + K/2
    assert spread(scores("gpt", q_K, k_K, uneven, 12)) < 1e-12
    assert spread(scores("ngpt_modded", q_K, k_K, uneven, 12)) < 1e-12
    assert spread(scores("ngpt", q_K, k_K, paired, 12)) < 1e-12
    assert spread(scores("ngpt", q_K, k_K, uneven, 12)) > 0.1


# ---- equivalences ----------------------------------------------------------------------------------------


def both(
    method: str, model: Decoder, tokens: Tensor, equations: paper.Equations | None = None
) -> list[Tensor]:
    """Logits of the model and of the equations."""
    weights = weights_of(model)
    literal = paper.normalized_logits(weights, tokens, model.dims, equations or EQUATIONS[method])
    return [model(tokens).detach(), literal.detach()]


@every_ngpt_with("s_u")
def test_a_factor_on_u_changes_nothing(method: str) -> None:
    """The branch is normed after W_o, so sqrt(d_model) on u too, as in NVIDIA's code, is the same model."""
    model = perturbed(method, TWO_HEADS, seed=0)
    tokens, _ = sequences(TWO_HEADS, 5, seed=0)
    before = both(method, model, tokens)
    with torch.no_grad():
        for block in model.blocks:
            block.mlp.gate.s_u.stored.mul_(math.sqrt(TWO_HEADS.d_model))
    for a, b in zip(before, both(method, model, tokens), strict=True):
        assert gap(a, b) < 1e-12
    with torch.no_grad():
        for block in model.blocks:
            block.mlp.gate.s_v.stored.mul_(math.sqrt(TWO_HEADS.d_model))  # on v it does, through SiLU
    for a, b in zip(before, both(method, model, tokens), strict=True):
        assert gap(a, b) > WRONG


@every_ngpt
def test_the_sign_of_alpha_changes_nothing(method: str) -> None:
    model = perturbed(method, TWO_HEADS, seed=0)
    tokens, _ = sequences(TWO_HEADS, 5, seed=0)
    before = both(method, model, tokens)
    with torch.no_grad():
        for block in model.blocks:
            block.attn_residual.alpha.stored.neg_()
            block.mlp_residual.alpha.stored.neg_()
    for a, b in zip(before, both(method, model, tokens), strict=True):
        assert torch.equal(a, b)


@every_ngpt_with("s_qk")
@pytest.mark.parametrize("uneven", [False, True], ids=["s_qk is 1", "s_qk uneven"])
def test_a_score_scale_can_move_into_s_qk(method: str, uneven: bool) -> None:
    """Scores times sqrt(d_head) with s_qk are scores times 1 with d_head^(1/4) s_qk (appendix A.4)."""
    model = perturbed(method, TWO_HEADS, seed=0)
    unscaled = build_model(replace(load(method), attn_scale=HeadWidthPower(0.0)), TWO_HEADS).double()
    with torch.no_grad():
        for block in model.blocks:
            if not uneven:
                block.attn.qk.s_qk.stored.fill_(1 / math.sqrt(TWO_HEADS.d_model))
        unscaled.load_state_dict(model.state_dict())
        for block in unscaled.blocks:
            block.attn.qk.s_qk.stored.mul_(TWO_HEADS.d_head**0.25)
    tokens, _ = sequences(TWO_HEADS, 6, seed=0)
    scaled = both(method, model, tokens)
    moved = both(method, unscaled, tokens, replace(EQUATIONS[method], attn_scale=lambda d_head: 1.0))
    for a, b in zip(scaled, moved, strict=True):
        assert gap(a, b) < 1e-12
