"""Log-likelihoods of continuations against the plainest computation: one request at a time, all logits, float64."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from ngptlab import methods
from ngptlab.config import Dims
from ngptlab.errors import ConfigError, DataError, DivergedError
from ngptlab.measure.tasks import loglikelihood as module
from ngptlab.measure.tasks.loglikelihood import Pair, is_cut, log_likelihoods, windows
from ngptlab.nn import loss as loss_module
from ngptlab.nn.decoder import Decoder

VOCAB = 61
DIMS = Dims(vocab_size=VOCAB, num_layers=2, num_heads=2, d_model=16)
EXACT = 1e-12  # float64: some hundred roundings (1e-16 relative) of sums of a few hundred nats


@pytest.fixture(params=["gpt", "ngpt"])
def model(request: pytest.FixtureRequest) -> Decoder:
    """In float64, with weights that make some tokens likely, and scales off their initial values."""
    built = methods.build_model(request.param, DIMS, seed=3).double().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    for name, weight in built.named_parameters():
        if "W_" not in name:
            weight.mul_(1 + 0.3 * torch.rand(weight.shape, generator=generator, dtype=weight.dtype))
    built.E_out.mul_(20)
    return built


def draw_pairs(count: int, longest: int = 30) -> list[Pair]:
    draw = random.Random(0)

    def tokens() -> list[int]:
        return [draw.randrange(VOCAB) for _ in range(draw.randint(1, longest))]

    return [(tokens(), tokens()) for _ in range(count)]


def log_probs(model: Decoder, tokens: list[int]) -> Tensor:
    return torch.log_softmax(model(torch.tensor([tokens]))[0], dim=-1)


def plain(model: Decoder, pair: Pair) -> tuple[float, bool]:
    context, continuation = (list(part) for part in pair)
    log_p_TV = log_probs(model, context + continuation[:-1])[len(context) - 1 :]
    return (
        sum(float(log_p_TV[t, token]) for t, token in enumerate(continuation)),
        log_p_TV.argmax(1).tolist() == continuation,
    )


def with_greedy(model: Decoder, context: list[int], length: int) -> Pair:
    """The context and what greedy decoding gives after it."""
    tokens = list(context)
    for _ in range(length):
        tokens.append(int(log_probs(model, tokens)[-1].argmax()))
    return context, tokens[len(context) :]


def assert_equal(found: list[tuple[float, bool]], expected: list[tuple[float, bool]], rel: float) -> None:
    assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]
    assert [total for total, _ in found] == pytest.approx([total for total, _ in expected], rel=rel)


def test_equals_the_plain_computation(model: Decoder) -> None:
    pairs = draw_pairs(40)
    for length in (1, 3, 9):
        context, right = with_greedy(model, [5, 1, length], length)
        pairs += [(context, right), (context, [*right[:-1], (right[-1] + 1) % VOCAB])]
    pairs.append((context, [(right[0] + 1) % VOCAB, *right[1:]]))
    expected = [plain(model, pair) for pair in pairs]
    assert sum(greedy for _, greedy in expected) >= 3 and not expected[-1][1]
    assert_equal(log_likelihoods(model, pairs, max_length=64), expected, EXACT)


def test_batches_and_order_change_nothing(model: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = draw_pairs(30)
    whole = log_likelihoods(model, pairs, max_length=64)
    order = random.Random(1).sample(range(30), 30)
    shuffled = log_likelihoods(model, [pairs[i] for i in order], max_length=64)
    assert_equal(shuffled, [whole[i] for i in order], EXACT)
    monkeypatch.setitem(loss_module.CHUNK_VALUES, "cpu", 1)  # logits of 16 positions at a time
    for budget in (1, 70, 300):  # one row in each pass; a few; many, of unlike length
        monkeypatch.setattr(module, "BATCH_TOKENS", budget)
        assert_equal(log_likelihoods(model, pairs, max_length=64), whole, EXACT)


def test_a_batch_keeps_to_its_budget(model: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_TOKENS", 128)
    sizes, seen = [], []
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda tokens: sizes.append(tokens.numel()) or hidden(tokens))
    pairs = draw_pairs(30)
    log_likelihoods(model, pairs, max_length=64, tell=lambda done, of: seen.append((done, of)))
    assert len(sizes) > 5 and max(sizes) <= 128
    total = sum(len(context) + len(continuation) - 1 for context, continuation in pairs)
    assert len(seen) == len(sizes) and seen[-1] == (total, total) and seen[0][0] < total


def test_a_long_context_loses_its_beginning(model: Decoder) -> None:
    context, continuation = list(range(40)), [7, 7, 8]
    expected = plain(model, (context[-14:], continuation))  # 14 + 3 - 1 = 16 inputs
    assert_equal(log_likelihoods(model, [(context, continuation)], max_length=16), [expected], EXACT)
    ((whole, _),) = log_likelihoods(model, [(context, continuation)], max_length=42)
    assert whole == pytest.approx(plain(model, (context, continuation))[0], rel=EXACT)
    assert whole != pytest.approx(expected[0], rel=1e-6)


def test_a_long_continuation_is_divided(model: Decoder) -> None:
    context, continuation = [1, 2, 3], [t % VOCAB for t in range(5, 25)]
    tokens = context + continuation
    log_p = 0.0
    for inputs, targets in ((tokens[2:10], tokens[3:11]), (tokens[10:18], tokens[11:19])):
        log_p += sum(float(log_probs(model, inputs)[t, token]) for t, token in enumerate(targets))
    last = log_probs(model, tokens[14:22])[-4:]  # four are left; before them, as much as fits
    log_p += sum(float(last[t, token]) for t, token in enumerate(tokens[19:]))
    found = log_likelihoods(model, [(context, continuation)], max_length=8)
    assert found[0][0] == pytest.approx(log_p, rel=EXACT)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (9, 3), (1, 8), (5, 9), (1, 24), (30, 25)])
def test_windows_predict_each_token_once(before: int, after: int) -> None:
    tokens = list(range(before + after))
    found = windows(tokens[:before], tokens[before:], 8)
    assert [token for window in found for token in window.targets] == tokens[before:]
    for window in found:
        assert len(window.targets) <= len(window.inputs) <= 8
        first = window.targets[0]  # tokens are their positions: inputs end one before the last target
        assert list(window.inputs)[-len(window.targets)] == first - 1
        assert window.inputs[-1] == window.targets[-1] - 1
    assert len(found[-1].inputs) == min(8, before + after - 1)


def test_of_equal_logits_the_first_is_greedy(model: Decoder) -> None:
    model.E_out.zero_()
    found = log_likelihoods(model, [([5], [0]), ([5], [1]), ([5], [0, 0, 1])], max_length=8)
    assert [greedy for _, greedy in found] == [True, False, False]


def test_hardly_possible_tokens_keep_their_digits(model: Decoder) -> None:
    model.E_out.mul_(1000)
    pairs = draw_pairs(20)
    expected = [plain(model, pair) for pair in pairs]
    # A float64 holds no probability under exp(-745).
    assert min(total / len(pair[1]) for (total, _), pair in zip(expected, pairs, strict=True)) < -745
    assert_equal(log_likelihoods(model, pairs, max_length=64), expected, EXACT)


def test_a_broken_model_is_named(model: Decoder) -> None:
    model.E_out[3, 0] = torch.nan
    with pytest.raises(DivergedError, match="not finite; evaluate an earlier checkpoint: --step N"):
        log_likelihoods(model, [([5], [0])], max_length=8)


def test_cut_is_what_does_not_fit() -> None:
    pair = [1, 2, 3], [4, 5]  # the last token is predicted, and no input
    assert [is_cut(pair, max_length) for max_length in (3, 4, 5)] == [True, False, False]


def test_activations_in_bfloat16(model: Decoder) -> None:
    pairs = draw_pairs(10, longest=8)
    exact = log_likelihoods(model, pairs, max_length=64)
    model.float().compute_dtype = torch.bfloat16
    # 8 bits: a relative error of 2^-9 in each of some ten products and sums on the way to a logit.
    for (found, _), (expected, _) in zip(log_likelihoods(model, pairs, max_length=64), exact, strict=True):
        assert found == pytest.approx(expected, rel=0.05, abs=0.2)


def test_nothing_asked_nothing_said(model: Decoder) -> None:
    assert log_likelihoods(model, [], max_length=8) == []


def test_a_request_without_an_answer_is_named(model: Decoder) -> None:
    """log p of nothing is 0, more than any answer has, and would win every comparison in silence."""
    whole = ([5], [0])
    with pytest.raises(
        DataError, match=r"request 1: its continuation has no tokens, after the context \[25, 6\]"
    ):
        log_likelihoods(model, [whole, ([25, 6], [])], max_length=8)
    with pytest.raises(DataError, match=r"the context \[\.\.\., 2, 3, 4, 5, 6, 7, 8, 9\]; give one at least"):
        log_likelihoods(model, [(torch.arange(10), torch.tensor([]))], max_length=8)
    with pytest.raises(DataError, match="request 2: its context has no tokens"):
        log_likelihoods(model, [whole, whole, ([], [3])], max_length=8)
    with pytest.raises(ConfigError, match="max_length 0"):  # it went on for ever
        log_likelihoods(model, [whole], max_length=0)
