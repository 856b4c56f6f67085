"""Parameter counts against the replication's and the paper's, on the meta device: nothing is allocated."""

from __future__ import annotations

import pytest
import torch

from ngptlab import Decoder, Dims
from ngptlab.methods import load


def count(method: str, dims: Dims) -> int:
    with torch.device("meta"):
        return Decoder(dims, load(method)).num_params()


@pytest.mark.parametrize(
    ("method", "width", "heads", "expected"),
    [
        ("gpt", 768, 12, 162_201_600),
        ("ngpt_modded", 768, 12, 162_320_256),
        ("gpt", 64, 1, 7_027_200),
        ("ngpt_modded", 64, 1, 7_083_888),
    ],
)
def test_counts_of_the_replication(method: str, width: int, heads: int, expected: int) -> None:
    assert count(method, Dims(vocab_size=50304, num_layers=12, num_heads=heads, d_model=width)) == expected


@pytest.mark.parametrize(
    ("layers", "width", "heads", "gpt_millions", "ngpt_millions"),
    [(24, 1024, 16, 468.2, 468.4), (36, 1280, 20, 1025.7, 1026.1)],
)
def test_counts_of_the_paper(
    layers: int, width: int, heads: int, gpt_millions: float, ngpt_millions: float
) -> None:
    """arXiv:2410.01131, table 2, whose numbers are cut, not rounded, after one digit."""
    dims = Dims(vocab_size=32_000, num_layers=layers, num_heads=heads, d_model=width, d_ff=4 * width)
    gains = 2 * layers * width  # the paper's baseline has a gain in each block's two norms, ours has none
    assert (count("gpt", dims) + gains) // 100_000 / 10 == gpt_millions
    assert count("ngpt", dims) // 100_000 / 10 == ngpt_millions


def test_scales_of_the_normalized_transformer() -> None:
    """Equations 3, 10, 11, 15, 16, 20 and 21: which vectors there are, and how long."""
    dims = Dims(vocab_size=17, num_layers=3, num_heads=2, d_model=16, d_ff=24)
    layer = 2 * dims.d_model + dims.num_heads * dims.d_head + 2 * dims.d_ff
    assert count("ngpt", dims) - count("gpt", dims) == 3 * layer + dims.vocab_size
    assert count("qk_norm", dims) == count("gpt", dims)
