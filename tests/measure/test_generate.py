"""With a cache, a model says what it says without; samples depend on seed and number alone."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare

from distinct import MODELS
from ngptlab import ConfigError, Decoder, Dims, build_model
from ngptlab.conformance.models import noisy
from ngptlab.sampling.choose import Sampling, probabilities
from ngptlab.sampling.generate import generate

DIMS = Dims(vocab_size=23, num_layers=2, num_heads=2, d_model=16, d_ff=24)
PROMPT = [22, 3, 11, 0, 7]
END = 9
GREEDY = Sampling(temperature=0)

every_method = pytest.mark.parametrize("method", MODELS)


@torch.no_grad()
def talkative(method: str) -> Decoder:
    """A float64 model, sure enough of itself that its greedy text is not one token again and again."""
    model = noisy(build_model(method, DIMS, seed=5).double(), 8, scales=0.3, weights=0.5)
    for name, weight in model.named_parameters():
        if name.endswith(".alpha.stored"):
            weight.mul_(8)
    return model


@every_method
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(), Sampling(0.7, 9, 0.9, 0.02)], ids=str)
def test_the_tokens_are_those_of_reading_all_again(method: str, sampling: Sampling) -> None:
    """In float64, where the paths differ by 1e-15: a number within that of a token's edge does not happen."""
    model = talkative(method)
    tokens = [
        list(generate(model, PROMPT, max_tokens=40, sampling=sampling, seed=3, num=3, end=END, cached=cached))
        for cached in (True, False)
    ]
    assert tokens[0] == tokens[1]
    assert len({token for row in tokens[0] for token in row}) > 2, "else this shows little"


@every_method
@torch.no_grad()
def test_greedy_is_the_likeliest_token_each_time(method: str) -> None:
    model, text = talkative(method), list(PROMPT)
    for _ in range(12):
        text.append(int(model(torch.tensor([text]))[0, -1].argmax()))
    found = generate(model, PROMPT, max_tokens=12, sampling=GREEDY)
    assert [row[0] for row in found] == text[len(PROMPT) :]


def columns(rows: list[list[int | None]]) -> list[list[int | None]]:
    return [list(column) for column in zip(*rows, strict=True)]


def test_a_continuation_depends_on_seed_and_number_alone() -> None:
    model = talkative("ngpt")
    four, two = (columns(list(generate(model, PROMPT, max_tokens=20, seed=8, num=n))) for n in (4, 2))
    assert four[:2] == two
    assert len({tuple(column) for column in four}) == 4
    other = columns(list(generate(model, PROMPT, max_tokens=20, seed=9, num=4)))
    assert all(a != b for a, b in zip(four, other, strict=True))


def test_a_continuation_ends_at_its_end_and_the_others_go_on() -> None:
    model, end = talkative("gpt"), 9
    free = columns(list(generate(model, PROMPT, max_tokens=60, seed=1, num=6)))
    ended = columns(list(generate(model, PROMPT, max_tokens=60, seed=1, num=6, end=end)))
    lengths = set()
    for whole, cut in zip(free, ended, strict=True):
        length = whole.index(end) + 1 if end in whole else 60
        assert cut[:length] == whole[:length]
        assert all(token is None for token in cut[length:])
        lengths.add(length)
    assert len(lengths) > 3, "they must end at different places, else this shows nothing"
    rows = list(generate(model, PROMPT, max_tokens=10**9, seed=1, num=6, end=end))
    assert any(token is not None for token in rows[-1]), "nothing is given once all have ended"


def test_first_tokens_are_drawn_with_the_probabilities_of_the_model() -> None:
    model, sampling = talkative("ngpt"), Sampling(temperature=1.4, top_p=0.98)
    first = next(generate(model, PROMPT, max_tokens=1, sampling=sampling, seed=2, num=4000))
    with torch.no_grad():
        p = probabilities(model(torch.tensor([PROMPT]))[:, -1], sampling)[0]
    found = torch.bincount(torch.tensor(first), minlength=DIMS.vocab_size)
    assert found[p == 0].sum() == 0
    expected = 4000 * p[p > 0]
    assert chisquare(found[p > 0].numpy(), expected.numpy()).pvalue > 1e-3


def test_padding_of_the_vocabulary_is_never_drawn() -> None:
    model = talkative("gpt")
    rows = list(generate(model, [1], max_tokens=30, seed=2, num=20, vocab_size=4))
    assert {token for row in rows for token in row} == {0, 1, 2, 3}


def test_what_is_refused() -> None:
    model = talkative("gpt")
    with pytest.raises(ConfigError, match="prompt is empty"):
        next(generate(model, [], max_tokens=1))
    with pytest.raises(ConfigError, match="seed: given -1"):
        next(generate(model, [1], max_tokens=1, seed=-1))
