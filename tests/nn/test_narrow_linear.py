"""A weight's gradient in float32 from bfloat16 products: all but the product itself, which on CUDA is another (marked gpu)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ngptlab.nn import forms
from ngptlab.nn.functions import linear
from ngptlab.nn.situations import Situation


@pytest.fixture(autouse=True)
def on_this_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "situation", lambda x: Situation.CUDA)


def gradients(*, compiled: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_BTI = torch.randn(2, 300, 8, generator=generator).bfloat16().requires_grad_()
    weight_OI = torch.randn(5, 8, generator=generator).requires_grad_()
    call = torch.compile(linear, backend="aot_eager", fullgraph=True) if compiled else linear
    y_BTO = call(x_BTI, weight_OI)
    assert y_BTO.dtype == torch.bfloat16 and y_BTO.shape == (2, 300, 5)
    y_BTO.square().sum().backward()
    assert x_BTI.grad is not None and weight_OI.grad is not None
    exact = torch.einsum("bto,bti->oi", 2 * y_BTO.detach().double(), x_BTI.detach().double())
    return x_BTI.grad, weight_OI.grad, exact


def test_the_gradient_is_not_rounded_to_bfloat16() -> None:
    """2^-9 would be the error of one such rounding; 600 float32 additions of products that are exact leave far less."""
    _, found, exact = gradients()
    assert found.dtype == torch.float32
    assert (found - exact).abs().max() < 2.0**-18 * exact.abs().max()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")  # torch does it itself, tracing
def test_compiled_it_is_the_same() -> None:
    for one, other in zip(gradients(compiled=True), gradients(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_without_a_gradient() -> None:
    with torch.no_grad():
        y = linear(torch.ones(3, 8, dtype=torch.bfloat16), torch.ones(5, 8))
    assert y.tolist() == [[8.0] * 5] * 3
