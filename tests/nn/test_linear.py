"""Products with matrices: which library computes them changes rounding only."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ngptlab.nn.linear import SMALL, linear


@pytest.mark.parametrize(("rows", "width", "out"), [(1, 96, 257), (5, 64, 100), (64, 96, 256)])
def test_without_a_gradient_small_products_are_plain(rows: int, width: int, out: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(n, width, generator=generator) for n in (rows, out))
    exact = F.linear(x.double(), weight.double())
    with torch.no_grad():
        found = linear(x.unsqueeze(0), weight)[0]
    # The bound of any order of summation: each of `width` roundings is at most eps of the sum of absolute values.
    bound = width * torch.finfo(torch.float32).eps * (x.abs().double() @ weight.abs().double().T)
    assert ((found - exact).abs() <= bound).all() and ((linear(x, weight) - exact).abs() <= bound).all()
    assert torch.equal(found, F.linear(x, weight)) or rows * width * out >= SMALL
