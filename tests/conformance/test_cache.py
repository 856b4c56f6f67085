"""Read in pieces through a cache, a text gives the logits that it gives at once: every method, any pieces, any window."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distinct import MODELS
from ngptlab import ConfigError, DataError, Decoder, Dims, build_model, methods
from ngptlab.conformance.models import in_pieces, noisy
from ngptlab.nn import blocks, decoder
from ngptlab.nn.cache import AHEAD, Cache
from ngptlab.nn.functions import attention_to_past, causal_attention
from ngptlab.nn.rope import Angles, rope_tables
from ngptlab.nn.structure import AllBefore

DIMS = Dims(vocab_size=17, num_layers=2, num_heads=2, d_model=16, d_ff=24)
LENGTH = 19
TOKENS = (torch.arange(3 * LENGTH) ** 2 * 5 % 17).view(3, LENGTH)

# The same sums in another order. In float64 that is some 1e-15 of logits of a few nats; in float32 some ten roundings of
# 6e-8 follow each other in each of four branches, and norms of 8 to 16 entries amplify them: 64 roundings of the largest.
EXACT = {"rtol": 0.0, "atol": 1e-12}

every_method = pytest.mark.parametrize("method", MODELS)


@st.composite
def pieces(draw: st.DrawFn) -> list[int]:
    """Where a text is cut."""
    return sorted(draw(st.sets(st.integers(1, LENGTH - 1))))


def trained_like(method: str) -> Decoder:
    """A float64 model whose scales all differ and whose logits are some nats."""
    return noisy(build_model(method, DIMS, seed=5).double(), 6, scales=0.5, weights=0.2)


def windowed(q: Tensor, k: Tensor, v: Tensor, scale: float, window: int) -> Tensor:
    """Attention as its definition says, a query at a time."""
    rows = []
    for t in range(q.shape[1]):
        near = slice(max(0, t - window + 1), t + 1)
        scores = torch.einsum("bhk,bshk->bhs", q[:, t], k[:, near]) * scale
        rows.append(torch.einsum("bhs,bshk->bhk", scores.softmax(-1), v[:, near]))
    return torch.stack(rows, dim=1)


@every_method
@settings(max_examples=15, deadline=None)
@given(cuts=pieces(), capacity=st.sampled_from([0, 1, 7, LENGTH, 40]))
@torch.no_grad()
def test_any_pieces_give_the_logits_of_the_whole(method: str, cuts: list[int], capacity: int) -> None:
    model = trained_like(method)
    torch.testing.assert_close(in_pieces(model, TOKENS, cuts, capacity=capacity), model(TOKENS), **EXACT)
    model.float()
    whole = model(TOKENS)
    near = 64 * torch.finfo(torch.float32).eps * max(1.0, float(whole.abs().max()))
    torch.testing.assert_close(in_pieces(model, TOKENS, cuts, capacity=capacity), whole, rtol=0, atol=near)


def windows(method: str) -> bool:
    """Whether all layers take the cache's window: none has one of its own, and nothing stands before the text."""
    return methods.load(method).mask == AllBefore() and not build_model(method, DIMS).embed.prefix


@pytest.mark.parametrize("method", [name for name in MODELS if windows(name)])
@settings(max_examples=15, deadline=None)
@given(cuts=pieces(), window=st.integers(1, LENGTH + 2), capacity=st.sampled_from([0, 5, 40]))
@torch.no_grad()
def test_a_window_is_what_its_definition_says(
    method: str, cuts: list[int], window: int, capacity: int
) -> None:
    model = trained_like(method)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "causal_attention", partial(windowed, window=window))
        expected = model(TOKENS)
    torch.testing.assert_close(
        in_pieces(model, TOKENS, cuts, capacity=capacity, window=window), expected, **EXACT
    )


@every_method
@torch.no_grad()
def test_other_angles_hold_at_every_position(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, trained = trained_like(method), trained_like(method)(TOKENS)
    for angles in (Angles(base=500.0), Angles(stretch=4.0)):
        monkeypatch.setattr(decoder, "rope_tables", partial(rope_tables, angles=angles))
        expected = model(TOKENS)
        torch.testing.assert_close(in_pieces(model, TOKENS, [1, 2, 9], angles=angles), expected, **EXACT)
        assert (expected - trained).abs().max() > 1e-3


@pytest.mark.parametrize("angles", [Angles(), Angles(stretch=3.0)])
def test_angles_are_those_of_their_positions_however_they_are_asked_for(angles: Angles) -> None:
    cache, like = Cache(DIMS, angles=angles), torch.zeros(1)
    for length in (5, *[1] * (AHEAD - 5), 1, 3, 2 * AHEAD, 1, AHEAD - 1, AHEAD):
        heads, width = DIMS.num_heads, DIMS.d_head
        expected = rope_tables(length, heads, width, like=like, first=cache.length, angles=angles)
        for found, table in zip(cache.rope(length, like=like), expected, strict=True):
            assert torch.equal(found, table), f"{length} from {cache.length} on"
        cache.length += length


@torch.no_grad()
def test_a_window_bounds_what_is_held() -> None:
    model = trained_like("ngpt")
    cache = Cache(DIMS, window=4)
    sizes = set()
    for t in range(LENGTH):
        model(TOKENS[:, t : t + 1], cache)
        room = cache.layers[0]._room_2BHSK
        assert room is not None
        sizes.add(room.shape[3])
    assert max(sizes) <= 2 * 4, "the buffer grows with the text"


@torch.no_grad()
def test_selected_sequences_go_on_by_themselves() -> None:
    model = trained_like("ngpt")
    cache = Cache(DIMS)
    model(TOKENS[:, :8], cache)
    rows = torch.tensor([2, 0, 2])
    cache.select(rows)
    found = model(TOKENS[:, 8:], cache)
    expected = model(torch.cat((TOKENS[rows, :8], TOKENS[:, 8:]), dim=1))[:, 8:]
    torch.testing.assert_close(found, expected, **EXACT)


@every_method
@torch.no_grad()
def test_losses_of_pieces_are_those_of_the_whole(method: str) -> None:
    model, cache = trained_like(method), Cache(DIMS)
    inputs, targets = TOKENS[:, :-1], TOKENS[:, 1:]
    parts = [model.token_losses(inputs[:, s], targets[:, s], cache) for s in (slice(0, 7), slice(7, None))]
    torch.testing.assert_close(torch.cat(parts, dim=1), model.token_losses(inputs, targets), **EXACT)


def test_what_a_cache_refuses() -> None:
    model = build_model("gpt", DIMS)
    with pytest.raises(ConfigError, match=r"keeps no gradient; .*no_grad"):
        model(TOKENS, Cache(DIMS))
    with torch.no_grad():
        cache = Cache(DIMS)
        model(TOKENS, cache)
        with pytest.raises(DataError, match="holds 3 sequences, given 1"):
            model(TOKENS[:1], cache)
    with pytest.raises(ConfigError, match="window 0"):
        Cache(DIMS, window=0)


@pytest.mark.parametrize("window", [None, 1, 40, 149, 150])
def test_attention_to_the_past_at_all_positions_and_at_the_last(window: int | None) -> None:
    q, k, v = torch.randn(3, 1, 150, 2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = causal_attention(q, k, v, 0.3) if window is None else windowed(q, k, v, 0.3, window)
    keys, values = k.transpose(1, 2), v.transpose(1, 2)
    torch.testing.assert_close(attention_to_past(q, keys, values, 0.3, window), expected, **EXACT)
    last = attention_to_past(q[:, -1:], keys, values, 0.3, window)
    torch.testing.assert_close(last, expected[:, -1:], **EXACT)
