"""Operations are counted on the model: those of the plain decoder by its formula, of any other what its products are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from ngptlab import Dims, build_model, flops, methods
from ngptlab.config import TrainConfig
from ngptlab.nn.cache import Cache
from ngptlab.nn.cost import MANY_LAYERS, cached_values, mean_token_flops, token_flops
from ngptlab.nn.functions import linear
from ngptlab.nn.matrices import matrix

SIZES = [
    (Dims(vocab_size=17, num_layers=2, num_heads=2, d_model=16, d_ff=23), 9),
    (Dims(vocab_size=257, num_layers=5, num_heads=4, d_model=96), 128),
    (Dims(vocab_size=50304, num_layers=1, num_heads=1, d_model=64), 2),
]


@pytest.mark.parametrize(("dims", "context"), SIZES)
@pytest.mark.parametrize("method", ["gpt", "ngpt", "ngpt_modded", "muon", "qk_norm"])
def test_the_plain_decoder_costs_what_the_formula_says(method: str, dims: Dims, context: int) -> None:
    """Half of the pairs of an odd context are no whole number, so the formula is a token's rounding off."""
    formula = flops.token_flops(dims, context).total
    assert token_flops(dims, methods.load(method), context) == pytest.approx(formula, abs=6 * dims.d_model)


def test_the_padding_of_matrices_is_no_cost() -> None:
    wide, odd = (Dims(vocab_size=17, num_layers=1, num_heads=2, d_model=16, d_ff=width) for width in (32, 23))
    parts = methods.load("gpt")
    assert token_flops(wide, parts, 8) - token_flops(odd, parts, 8) == 6 * 3 * 16 * 9


@pytest.mark.parametrize("method", methods.names())
def test_products_of_matrices_are_those_that_a_profiler_sees(method: str) -> None:
    """Attention apart, of which a profiler sees whole squares. One sequence of one token has none: each pair is its own."""
    dims = Dims(vocab_size=19, num_layers=4, num_heads=2, d_model=32, d_ff=32)
    model, tokens = build_model(method, dims), torch.zeros(1, 1, dtype=torch.long)
    if model.embed.prefix:
        pytest.skip("attends to what stands before the text")
    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as seen, torch.no_grad():
        model.double()(tokens)  # float64 takes torch's own products
    names = ("aten::mm", "aten::addmm")
    products = sum(event.flops for event in seen.events() if event.name in names)
    pairs = 4 * dims.num_layers * dims.d_model // 2
    heads = (
        2 if method == "difft" else 1
    )  # two maps of half as many heads, each over both halves of the values
    assert token_flops(dims, methods.load(method), 1) == 3 * (products + heads * pairs)


@dataclass(frozen=True)
class Window:
    positions: int

    def build(self, dims: Dims) -> int:
        return self.positions


@pytest.mark.parametrize("window", [1, 3, 8, 100])
def test_a_window_costs_its_own_pairs(window: int) -> None:
    dims, parts = Dims(vocab_size=17, num_layers=2, num_heads=2, d_model=16, d_ff=16), methods.load("gpt")
    met = (
        sum(min(t, window) for t in range(8)) + min(8, window) / 2
    )  # the token itself counts half, as in the formula
    every = 8 * 8 / 2
    saved = token_flops(dims, parts, 8) - token_flops(dims, replace(parts, mask=Window(window)), 8)
    assert saved == pytest.approx(12 * 2 * 16 * (every - met) / 8, abs=3)


class _Wasteful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W_q = matrix(160, 16)

    def forward(self, o: Tensor, v: Tensor, h: Tensor) -> Tensor:
        return o + linear(h, self.W_q).sum()


@dataclass(frozen=True)
class Wasteful:
    def build(self, dims: Dims) -> nn.Module:
        return _Wasteful()


def test_a_matrix_that_a_part_adds_is_counted() -> None:
    dims, parts = Dims(vocab_size=17, num_layers=3, num_heads=2, d_model=16, d_ff=16), methods.load("gpt")
    more = token_flops(dims, replace(parts, attn_out=Wasteful()), 8) - token_flops(dims, parts, 8)
    assert more == 6 * 3 * 160 * 16


@pytest.mark.parametrize("method", ["gpt", "ngpt"])
def test_deep_models_are_counted_from_their_first_layers(method: str) -> None:
    dims = Dims(vocab_size=17, num_layers=MANY_LAYERS + 7, num_heads=2, d_model=16)
    assert token_flops(dims, methods.load(method), 8) == flops.token_flops(dims, 8).total


@dataclass(frozen=True)
class Halves:
    def build(self, dims: Dims):  # type: ignore[no-untyped-def]
        return lambda step, steps, context: context // 2 if step < steps // 2 else context


def test_a_growing_context_costs_its_mean() -> None:
    dims, parts = SIZES[1][0], replace(methods.load("gpt"), context=Halves())
    train = TrainConfig(steps=10, batch_size=2, context=64)
    half, whole = (token_flops(dims, parts, context) for context in (32, 64))
    assert mean_token_flops(dims, parts, train) == pytest.approx((half + whole) / 2, abs=1)
    # A quarter of the tokens is met in the first half of the steps: 1 sequence of the mean 2 in each, then 3.
    growing = train.model_copy(update={"batch_stages": (0.5, 1.5)})
    assert mean_token_flops(dims, parts, growing) == pytest.approx((half + 3 * whole) / 4, abs=1)


# --- what a cache keeps -----------------------------------------------------------------------------------------------

CACHED = {"gpt": 2.0, "gqa": 1.0, "difft": 4.0, "sliding_window": 2.0, "tokenformer": 2.0, "meta_tokens": 2.0}
"""In d_model for each layer. Both halves of the values stand beside both maps of difft, each of which has all heads' keys."""


@pytest.mark.parametrize("method", CACHED)
def test_what_a_cache_keeps_is_counted_from_what_attention_hands_it(method: str) -> None:
    dims = Dims(vocab_size=19, num_layers=3, num_heads=4, d_model=32, d_ff=32)
    found = cached_values(dims, methods.load(method))
    assert found == CACHED[method] * 3 * 32
    # And it is what is allocated, of two sequences of nine tokens.
    model, cache = build_model(method, dims), Cache(dims)
    with torch.no_grad():
        model(torch.zeros(2, 9, dtype=torch.long), cache)
    rooms = [layer._room_2BHSK for layer in cache.layers]
    assert sum(room.numel() for room in rooms if room is not None) == 2 * (9 + model.embed.prefix) * found


def test_deep_models_cache_as_much_a_layer_as_shallow_ones() -> None:
    few, many = (
        Dims(vocab_size=19, num_layers=layers, num_heads=4, d_model=32, d_ff=32)
        for layers in (4, MANY_LAYERS + 8)
    )
    parts = methods.load("difft")
    assert cached_values(many, parts) == (MANY_LAYERS + 8) // 4 * cached_values(few, parts)
