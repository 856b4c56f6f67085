"""Products with matrices: which library computes them changes rounding only."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from ngptlab.nn.fast.linear import LONG, SMALL, _parts, in_parts
from ngptlab.nn.functions import linear


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


@pytest.mark.parametrize(
    ("rows", "outputs", "inputs", "parts"),
    [(2**15, 64, 64, 128), (2**15, 64, 176, 64), (2**15, 768, 768, 8), (2**15, 2048, 768, 4), (LONG, 8, 8, 1), (99, 64, 64, 1)],
)  # fmt: skip
def test_parts(rows: int, outputs: int, inputs: int, parts: int) -> None:
    assert _parts(rows, outputs, inputs) == parts
    assert parts == 1 or 8 * parts * outputs * inputs <= rows * (outputs + inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_in_parts(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a narrow product the gradient is rounded once a part, which together are a rounding, and not again in the sum."""
    parts, bmm = [], torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda x, y: parts.append(len(x)) or bmm(x, y))
    generator = torch.Generator().manual_seed(0)
    x_NI, dy_NO = (torch.randn(8 * LONG, width, generator=generator).to(dtype) for width in (16, 24))
    weight_OI = torch.randn(24, 16, generator=generator).to(torch.promote_types(dtype, torch.float32))
    narrow, exact = weight_OI.clone().requires_grad_(), weight_OI.to(dtype).double().requires_grad_()
    y_NO, want_NO = in_parts(x_NI, narrow), F.linear(x_NI.double(), exact)
    assert parts == [8]
    y_NO.backward(dy_NO)
    want_NO.backward(dy_NO.double())
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(y_NO.double(), want_NO, rtol=2 * eps, atol=8 * eps)
    assert narrow.grad is not None and exact.grad is not None
    bound = 1e-14 if dtype == torch.float64 else eps / 4
    assert (narrow.grad - exact.grad).norm() < bound * exact.grad.norm()
