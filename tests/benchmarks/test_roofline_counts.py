"""The products under a step: their number, their shapes, and that every way to compute one gives the same."""

from __future__ import annotations

import pytest
import torch

from benchmarks import roofline
from benchmarks.roofline import Product, flops, kernels, weight_products
from benchmarks.sizes import Size
from benchmarks.steps import bench_device
from ngptlab.config import Dims

SMALL = Size(Dims(vocab_size=11, num_layers=3, num_heads=2, d_model=8), batch=2, context=5)


def test_flops_against_a_hand_count() -> None:
    # 10 tokens, d_ff = int(8/3 * 8) = 21. A product with a weight: 2 FLOPs a value and token, three times.
    weights = 3 * (4 * 8 * 8 + 3 * 8 * 21) + 11 * 8
    # Attention: 2 sequences, 1+2+3+4+5 = 15 pairs each; 8 channels over all heads; 2 + 4 products; 3 layers.
    attention = 2 * 15 * 8 * 2 * 6 * 3
    assert flops(SMALL) == 2 * 3 * weights * 10 + attention


def test_weights_have_the_shapes_of_the_model() -> None:
    # d_ff 21 is padded to 32, as in nn/matrices.py.
    assert weight_products(SMALL) == [
        Product(10, 8, 8, 12),
        Product(10, 8, 32, 6),
        Product(10, 32, 8, 3),
        Product(10, 8, 11, 1.0),
    ]


def test_a_large_head_is_timed_on_a_part_of_the_tokens() -> None:
    size = Size(Dims(vocab_size=50304, num_layers=1, num_heads=1, d_model=16), batch=4, context=1024)
    assert weight_products(size)[-1] == Product(512, 16, 50304, 8.0)


def test_all_ways_to_compute_a_product_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    operands: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    ways = roofline._ways

    def spy(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> list[roofline.Kernel]:
        operands.append((a, b, out))
        return ways(a, b, out)

    monkeypatch.setattr(roofline, "_ways", spy)
    triple = kernels(Product(6, 4, 5, 1), bench_device(cuda=False, compiled=False))
    assert [tuple(out.shape) for _, _, out in operands] == [(6, 5), (6, 4), (5, 4)]
    for (a, b, _), found in zip(operands, triple, strict=True):
        expected = a.double() @ b.double().T
        for kernel in found:
            # Sums of at most 6 products of standard normals in float32: errors of some 1e-7 each.
            torch.testing.assert_close(torch.as_tensor(kernel()).double(), expected, atol=1e-5, rtol=0)
