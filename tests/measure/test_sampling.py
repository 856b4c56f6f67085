"""What is cut off before a draw, against loops that follow the definitions, and the draw against what it should be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from ngptlab.errors import ConfigError
from ngptlab.sampling.choose import Sampling, draw, probabilities

# Whole numbers of logits make ties, which a cut must not keep or drop together. Halves keep sums of probabilities away
# from the masses asked for, where the last bit of a sum would decide.
LOGITS = st.lists(st.sampled_from([-40.0, -2.0, -1.0, 0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=9)
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_k=st.integers(0, 11),
    top_p=st.sampled_from([0.05, 0.3217, 0.7131, 0.951, 1.0]),
    min_p=st.sampled_from([0.0, 0.0813, 0.51, 1.0]),
)


def plain(logits: list[float], sampling: Sampling) -> list[float]:
    """One row, a token at a time."""
    order = sorted(range(len(logits)), key=lambda i: -logits[i])  # stable: of equals, the lower number first
    if sampling.temperature == 0:
        return [float(i == order[0]) for i in range(len(logits))]
    weights = [math.exp((z - max(logits)) / sampling.temperature) for z in logits]
    kept = order[: sampling.top_k or None]
    whole, mass, likely = sum(weights[i] for i in kept), 0.0, []
    for i in kept:
        if mass < sampling.top_p * whole or sampling.top_p == 1:
            likely.append(i)
        mass += weights[i]
    near = [i for i in likely if weights[i] >= sampling.min_p * weights[likely[0]]]
    return [weights[i] / sum(weights[j] for j in near) if i in near else 0.0 for i in range(len(logits))]


@settings(max_examples=200, deadline=None)
@given(logits=LOGITS, sampling=SAMPLINGS)
def test_cuts_are_what_their_definitions_say(logits: list[float], sampling: Sampling) -> None:
    # Two rows, the other one reversed: what one row keeps must not depend on another.
    both = torch.tensor([logits, logits[::-1]], dtype=torch.float64)
    expected = torch.tensor([plain(row, sampling) for row in both.tolist()], dtype=torch.float64)
    torch.testing.assert_close(probabilities(both, sampling), expected, rtol=1e-12, atol=1e-15)


def test_a_low_temperature_does_not_overflow() -> None:
    p = probabilities(torch.tensor([[1000.0, 999.0, -1000.0]]), Sampling(temperature=1e-307))
    assert p.tolist() == [[1.0, 0.0, 0.0]]


@settings(max_examples=50, deadline=None)
@given(weights=st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(any))
def test_a_sweep_over_all_numbers_meets_each_token_by_its_share(weights: list[int]) -> None:
    p = torch.tensor([weights], dtype=torch.float64) / sum(weights)
    count = 1000
    uniform = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    found = torch.bincount(draw(p.expand(count, -1).contiguous(), uniform), minlength=len(weights))
    assert (found - count * p[0]).abs().max() <= 1
    assert (found[p[0] == 0] == 0).all()


def test_of_many_equal_tokens_the_first_stay() -> None:
    p = probabilities(torch.arange(30_000)[None] % 3, Sampling(top_k=50))
    assert p[0].nonzero().squeeze(1).tolist() == list(range(2, 152, 3))


def test_the_ends_of_the_numbers_never_meet_an_impossible_token() -> None:
    p = torch.tensor([[0.0, 0.3, 0.7 - 1e-17, 0.0, 0.0]], dtype=torch.float64).expand(2, -1).contiguous()
    ends = torch.tensor([0.0, math.nextafter(1, 0)], dtype=torch.float64)
    assert draw(p, ends).tolist() == [1, 2]
    tiny = torch.tensor([[0.0, 1e-320, 0.0]], dtype=torch.float64).expand(2, -1).contiguous()
    assert draw(tiny, ends).tolist() == [1, 1]  # here the product rounds to the whole mass


def test_draws_follow_the_probabilities() -> None:
    logits = torch.linspace(-2, 1, 12)[None]
    sampling = Sampling(temperature=0.8, top_k=9, top_p=0.97, min_p=0.05)
    p = probabilities(logits, sampling)
    uniform = torch.from_numpy(np.random.default_rng(7).random(20_000))
    found = torch.bincount(draw(p.expand(len(uniform), -1).contiguous(), uniform), minlength=12).numpy()
    there = p[0].numpy() > 0
    assert 1 < there.sum() < 9, "each cut has something to do"
    assert found[~there].sum() == 0
    assert chisquare(found[there], p[0].numpy()[there] * len(uniform)).pvalue > 1e-3
    # The same draws can tell another temperature.
    other = probabilities(logits, Sampling(0.9, 9, 0.97, 0.05))[0].numpy()
    assert chisquare(found[there], other[there] / other[there].sum() * len(uniform)).pvalue < 1e-3


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"min_p": -0.1},
        {"min_p": 1.5},
    ],
)
def test_values_out_of_range_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}: given .*; allowed: "):
        Sampling(**wrong)  # type: ignore[arg-type]
