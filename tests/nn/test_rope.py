"""RoPE: turns keep norms, scores depend on distances, and the table is exact far beyond the training context."""

from __future__ import annotations

import math

import pytest
import torch
from torch import library

from ngptlab.nn import rope
from ngptlab.nn.functions import rotate
from ngptlab.nn.rope import BASE, Angles, rope_tables


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_turns_keep_every_norm_and_position_0() -> None:
    x = noise(2, 40, 3, 8)
    turned = rotate(x, rope_tables(40, 3, 8, like=x))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-12, atol=0)
    assert torch.equal(turned[:, 0], x[:, 0])
    assert not torch.allclose(turned[:, 1:], x[:, 1:])


def test_scores_depend_on_the_distance_alone() -> None:
    length, width = 24, 8
    q, k = noise(width, seed=1), noise(width, seed=2)
    rope = rope_tables(length, 1, width, like=q)
    same_everywhere = (x.expand(1, length, 1, width) for x in (q, k))
    turned_q, turned_k = (rotate(x, rope)[0, :, 0] for x in same_everywhere)
    scores = turned_q @ turned_k.T
    for distance in range(-length + 1, length):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-11, atol=1e-11)
    assert scores[0].std() > 0.1, "distances must differ, else this shows nothing"
    assert not torch.allclose(scores, scores.T), "the sign of a distance must count"


def test_channel_j_turns_with_channel_j_plus_half() -> None:
    unit = torch.eye(6, dtype=torch.float64).view(6, 1, 1, 6).expand(6, 4, 1, 6)
    turned = rotate(unit, rope_tables(4, 1, 6, like=unit))
    for j in range(3):
        angle = 3 * BASE ** (-2 * j / 6)
        expected = torch.zeros(6, dtype=torch.float64)
        expected[j], expected[j + 3] = math.cos(angle), math.sin(angle)
        torch.testing.assert_close(turned[j, 3, 0], expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_table_is_exact_at_position_8192(dtype: torch.dtype) -> None:
    width = 32
    cos, sin = rope_tables(8193, 2, width, like=torch.empty(0, dtype=dtype))
    assert cos.shape == sin.shape == (8193, 2, width)
    assert cos.dtype == sin.dtype == torch.promote_types(dtype, torch.float32)
    # Half a unit in the last place of a float32 below 1 is 3e-8; angles made in float32 would be off by 5e-4.
    tolerance = 1e-11 if dtype == torch.float64 else 6e-8
    for position in (1, 127, 8191, 8192):
        for j in range(width // 2):
            angle = position * BASE ** (-2 * j / width)
            for channel, sign in ((j, -1), (j + width // 2, 1)):
                assert (cos[position, :, channel] - math.cos(angle)).abs().max() < tolerance
                assert (sin[position, :, channel] - sign * math.sin(angle)).abs().max() < tolerance


def test_bfloat16_is_turned_in_float32() -> None:
    x = noise(1, 64, 1, 8, dtype=torch.bfloat16)
    turned = rotate(x, rope_tables(64, 1, 8, like=x))
    exact = rotate(x.double(), rope_tables(64, 1, 8, like=x.double()))
    assert turned.dtype == torch.bfloat16
    # One rounding to bfloat16 at the end, at most 2^-8 of the value.
    torch.testing.assert_close(turned.double(), exact, rtol=2**-7.9, atol=1e-6)


def test_later_positions_other_bases_and_stretched_positions() -> None:
    like = noise(0)
    whole, late = rope_tables(30, 2, 8, like=like), rope_tables(9, 2, 8, like=like, first=21)
    assert all(torch.equal(a[21:], b) for a, b in zip(whole, late, strict=True))
    half = rope_tables(60, 2, 8, like=like, angles=Angles(stretch=2.0))
    assert all(torch.equal(a, b[::2]) for a, b in zip(whole, half, strict=True))
    cos = rope_tables(30, 2, 8, like=like, angles=Angles(base=70.0))[0]
    assert cos[29, 0, 3].item() == pytest.approx(math.cos(29 * 70 ** (-6 / 8)), abs=1e-14)


def test_compiled_tables_are_one_operator() -> None:
    """As formulas in a graph they would be computed wherever a cosine is used."""
    x = torch.ones(1, 6, 2, 8, dtype=torch.float64)
    compiled = torch.compile(
        lambda x: rotate(x, rope_tables(6, 2, 8, like=x, first=3)), backend="aot_eager", fullgraph=True
    )
    torch.testing.assert_close(compiled(x), rotate(x, rope_tables(6, 2, 8, like=x, first=3)))
    args = (3, 6, 8, 1e4, 1.0, torch.float32, torch.device("cpu"))
    library.opcheck(rope._compiled_tables, args, test_utils=("test_schema", "test_faketensor"))
