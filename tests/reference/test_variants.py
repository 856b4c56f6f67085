"""Methods that change one place of the plain decoder against the literal equations of `variants.py`.

All weights are away from their initial values, where gates are even, scales are 1 and whole branches are zero. The
check is checked: each wrong equation must be told from the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import paper
import plain
import pytest
import torch
import variants
from agreement import WRONG, close, gap, sequences, weights_of
from plain import PLAIN, Equations, Pass, norm
from torch import Tensor
from variants import VARIANTS
from wrong_variants import WRONG_EQUATIONS

from ngptlab import Decoder, Dims, build_model, methods
from ngptlab.conformance.models import noisy
from ngptlab.data.batches import Batches, CutBatches
from ngptlab.methods.mtp import Ahead
from ngptlab.methods.prope import RotateFast
from ngptlab.methods.sliding_window import ShortThenLong
from ngptlab.methods.z_loss import WithNormalizer
from ngptlab.nn.decoder import Parts
from ngptlab.nn.roles import Role, roles

FOUR_LAYERS = Dims(vocab_size=11, num_layers=4, num_heads=2, d_model=16, d_ff=6)
FIVE_LAYERS = Dims(vocab_size=7, num_layers=5, num_heads=4, d_model=8, d_ff=10)
ONE_LAYER = Dims(vocab_size=5, num_layers=1, num_heads=2, d_model=8, d_ff=3)
NARROW = Dims(vocab_size=5, num_layers=4, num_heads=1, d_model=4, d_ff=4)

# Sizes, context, sequences, seed. Windows of 64 need a context beyond that.
CASES = [(FOUR_LAYERS, 6, 2, 0), (FIVE_LAYERS, 7, 1, 1), (ONE_LAYER, 3, 2, 2)]
LONG = (NARROW, 67, 1, 3)

# A record whose fields say something else than its method's file, or that stands beside another method's.
OTHER_FIELDS: dict[str, tuple[Parts, Equations]] = {
    "difft, gated": (
        replace(methods.load("difft"), attn_out=methods.load("gated_attention").attn_out),
        Equations(attention=variants.differential, out=variants.gated),
    ),
    "difft, without own values": (
        replace(methods.load("difft"), attn_out=methods.load("xsa").attn_out),
        Equations(attention=variants.differential, out=variants.without_own_value),
    ),
    "mtp, three": (
        replace(methods.load("mtp"), loss=Ahead(0.5, 0.25)),
        Equations(loss=variants.several_ahead(1, 0.5, 0.25)),
    ),
    "mtp, not the second": (
        replace(methods.load("mtp"), loss=Ahead(0.0, 0.25)),
        Equations(loss=variants.several_ahead(1, 0, 0.25)),
    ),
    "prope, half": (
        replace(methods.load("prope"), qk=RotateFast(0.5)),
        Equations(query_key=partial(variants.partly_turned, share=0.5)),
    ),
    "sliding_window, 3": (
        replace(methods.load("sliding_window"), mask=ShortThenLong(short=3)),
        Equations(first_met=variants.window(3)),
    ),
    "z_loss, 0.1": (
        replace(methods.load("z_loss"), loss=WithNormalizer(0.1)),
        Equations(loss=variants.with_normalizer(0.1)),
    ),
}
ALL = {name: (methods.load(name), equations) for name, equations in VARIANTS.items()} | OTHER_FIELDS
EVERY = [(name, case) for name in ALL for case in ([LONG] if name == "sliding_window" else CASES)]


@torch.no_grad()
def perturbed(parts: Parts, dims: Dims, seed: int) -> Decoder:
    """A float64 model with every weight away from its initial value and from the constraint."""
    model = noisy(build_model(parts, dims, seed=seed).double(), 1000 + seed, scales=0.5, weights=0.3)
    for name, weight in model.named_parameters():
        if name.endswith(".alpha.stored"):
            weight.mul_(5)  # to about 0.25, as training does
            weight[::2].neg_()
    return model


def of_model(model: Decoder, tokens: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Logits, training loss and all gradients."""
    loss = model.loss(tokens, targets)
    loss.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.numel()}
    assert all(gradient is not None for gradient in gradients.values()), "a weight takes no part"
    return {"logits": model(tokens), "loss": loss} | gradients


def literal(model: Decoder, tokens: Tensor, targets: Tensor, equations: Equations) -> dict[str, Tensor]:
    """The same by the equations; a weight without a part in them has a gradient of 0."""
    weights = weights_of(model)
    logits = plain.logits(weights, tokens, model.dims, equations)
    loss = equations.loss(logits, targets)
    loss.backward()
    return {"logits": logits, "loss": loss} | {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, weight in weights.items()
        if weight.numel()
    }


@pytest.mark.parametrize(
    ("name", "case"), EVERY, ids=[f"{name}-{case[0].num_layers} layers" for name, case in EVERY]
)
def test_logits_loss_and_gradients_are_the_equations(name: str, case: tuple[Dims, int, int, int]) -> None:
    dims, context, batch, seed = case
    parts, equations = ALL[name]
    model = perturbed(parts, dims, seed)
    tokens, targets = sequences(dims, context, seed, batch)
    found, expected = of_model(model, tokens, targets), literal(model, tokens, targets, equations)
    assert found.keys() == expected.keys()
    for what, value in found.items():
        close(value, expected[what], of=what)


# ---- wrong equations -------------------------------------------------------------------------------------

# Settings in which a slip shows: groups of heads need four, a window of 64 more positions.
SETTINGS = {"gqa": CASES[1], "difft, gated": CASES[1], "sliding_window": LONG}

EVERY_WRONG = [(method, what) for method, wrongs in WRONG_EQUATIONS.items() for what in wrongs]


@pytest.mark.parametrize(("name", "what"), EVERY_WRONG, ids=[f"{name}-{what}" for name, what in EVERY_WRONG])
def test_a_wrong_equation_disagrees(name: str, what: str) -> None:
    dims, context, batch, seed = SETTINGS.get(name, CASES[0])
    parts, equations = ALL[name]
    model = perturbed(parts, dims, seed)
    tokens, targets = sequences(dims, context, seed, batch)
    found = of_model(model, tokens, targets)
    wrong = literal(model, tokens, targets, replace(equations, **WRONG_EQUATIONS[name][what]))
    # The head's gradient differs where it is not trained; everywhere else logits or the loss do.
    seen = ["E_in"] if name == "tied" else ["logits", "loss"]
    assert max(gap(found[value], wrong[value]) for value in seen) > WRONG


# ---- constraint, initial weights, batches ----------------------------------------------------------------


def test_bounded_weights_are_the_literal_constraint() -> None:
    model = perturbed(methods.load("angpt"), FOUR_LAYERS, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.8)  # so that some vectors are shorter than 1
    before = weights_of(model)
    expected, everywhere = variants.bounded(before), paper.unit_norm_constraint(before)
    model.after_step()
    for name, weight in model.named_parameters():
        assert gap(weight, expected[name]) <= 1e-12, name
        if not name.endswith(".stored"):
            assert gap(weight, everywhere[name]) > WRONG, f"{name}: all vectors have norm 1"


@pytest.mark.parametrize("name", ["zero_init", "speedrun"])
def test_zero_writers_make_the_first_model_a_bigram(name: str) -> None:
    """No block changes the stream: logits are E_out Norm(E_in[token]), and other weights are the baseline's."""
    model, baseline = (build_model(method, FOUR_LAYERS, seed=3).double() for method in (name, "gpt"))
    kinds, drawn = roles(baseline), dict(baseline.named_parameters())
    for at, weight in model.named_parameters():
        if kinds[at] is Role.WRITER:
            assert not weight.any() and drawn[at].any(), at
        elif weight.shape == drawn[at].shape:
            assert torch.equal(weight, drawn[at]), at
    tokens, _ = sequences(FOUR_LAYERS, 6, seed=0)
    weights, cap = weights_of(model), VARIANTS[name].logits
    p = Pass(PLAIN, weights, FOUR_LAYERS, [])
    bigram = [[cap(p, weights["E_out"] @ norm(weights["E_in"][i])) for i in row] for row in tokens.tolist()]
    expected = torch.stack([torch.stack(row) for row in bigram])
    close(model(tokens), expected, of="logits")
    assert gap(baseline(tokens), expected) > WRONG


class Numbers:
    """A stream in which each token is its own place."""

    def __len__(self) -> int:
        return 5000

    def window(self, start: int, length: int) -> np.ndarray:
        return np.arange(start, start + length, dtype=np.int64)


LENGTHS: Callable[[int, int, int], int] = methods.load("seqlen_warmup").context.build(FOUR_LAYERS)


@pytest.mark.parametrize(("steps", "context"), [(10, 64), (37, 48), (100, 1024), (6, 7), (50, 8)])
def test_lengths_of_sequences_are_the_line(steps: int, context: int) -> None:
    found = [LENGTHS(step, steps, context) for step in range(steps)]
    assert found == [variants.context_of_step(step, steps, context) for step in range(steps)]
    assert found[0] == min(8, context) and found[-1] == context
    assert found == sorted(found)


@pytest.mark.parametrize(
    "wrong", [{"until": Fraction(1)}, {"until": Fraction(7, 10)}, {"first": 16}, {"first": 1}]
)
def test_another_line_disagrees(wrong: dict[str, Any]) -> None:
    other = [variants.context_of_step(step, 100, 1024, **wrong) for step in range(100)]
    assert other != [LENGTHS(step, 100, 1024) for step in range(100)]


def test_short_sequences_have_the_tokens_of_the_baselines_batch() -> None:
    whole = Batches(Numbers(), context=48, batch_size=3, seed=0)  # type: ignore[arg-type]
    cut = CutBatches(whole, lambda step: LENGTHS(step, 20, 48))
    for step in range(20):
        inputs, targets = cut.at(step)
        length = variants.context_of_step(step, 20, 48)
        assert inputs.shape == targets.shape == (3 * 48 // length, length)
        for short, long in zip(cut.at(step), whole.at(step), strict=True):
            assert [token for row in short for token in row] == [token for row in long for token in row]


# ---- every method has its equation -----------------------------------------------------------------------

OF_THE_PAPER = {"gpt", "ngpt", "ngpt_modded", "ngpt_s_z_scale_one", "ngpt_s_qk_init_third"}
OF_THE_PAPER |= {"ngpt_scalar_scales", "ngpt_fixed_scales", "ngpt_no_qk_norm"}
# test_training.py has their equations, tests/nn/test_updates.py those of optimizers.
OF_TRAINING = ("optimizer", "weight_decay", "warmup_steps", "batch_stages", "schedule", "average")


def test_every_method_has_an_equation_and_a_wrong_one() -> None:
    """By itself, or because it differs from a method that has one in its training alone."""
    training = {seam: getattr(methods.load("gpt"), seam) for seam in OF_TRAINING}
    known = {replace(methods.load(name), **training) for name in OF_THE_PAPER | VARIANTS.keys()}
    lacking = [name for name in methods.names() if replace(methods.load(name), **training) not in known]
    assert not lacking, f"write the equations of {lacking} into variants.py"
    refuted = {name.partition(",")[0] for name in WRONG_EQUATIONS}
    assert VARIANTS.keys() - refuted == {"seqlen_warmup", "zero_init"}, "these have tests of their own"
