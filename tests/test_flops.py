"""Counted operations: by hand, and against torch's own counter over a real forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ngptlab.config import Dims
from ngptlab.flops import TokenFlops, token_flops
from ngptlab.methods import build_model
from ngptlab.nn.situations import plain_formulas

TINY = Dims(vocab_size=48, num_layers=2, num_heads=2, d_model=16, d_ff=32)


def test_by_hand() -> None:
    """Two layers of four 16 x 16 and three 16 x 32 matrices, a head of 48 x 16, 24 tokens of context."""
    expected = TokenFlops(
        projections=12_288,  # 6 * 2 * 4 * 256
        scores=4_608,  # 6 * 2 * 16 * 24
        mlp=18_432,  # 6 * 2 * 3 * 512
        head=4_608,  # 6 * 768
    )
    assert token_flops(TINY, 24) == expected
    assert expected.total == 39_936


def test_of_the_replication() -> None:
    """6 N of the matrices that multiply, N from the count of parameters less E_in, and 6 L D T."""
    dims = Dims(vocab_size=50304, num_layers=12, num_heads=12, d_model=768)
    assert token_flops(dims, 1024).total == 6 * (162_201_600 - 50304 * 768) + 6 * 12 * 768 * 1024


def test_of_odd_context() -> None:
    assert token_flops(TINY, 1).scores == 6 * 2 * 16


@pytest.mark.parametrize("method", ["gpt", "ngpt"])
def test_against_torch(method: str) -> None:
    """Torch counts attention's products over all keys, ours those of the causal half."""
    batch, context = 3, 24
    model = build_model(method, TINY, seed=0)
    tokens_BT = torch.randint(TINY.vocab_size, (batch, context + 1))
    # torch counts matrix products only, and attention where it is made of them.
    with plain_formulas(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).backward()
    ours = token_flops(TINY, context)
    assert counter.get_total_flops() == batch * context * (ours.total + ours.scores)
