"""Norms without gain: exact, finite on zero rows, and wide inside whatever goes in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ngptlab.nn.functions import rms_norm, unit_norm
from ngptlab.nn.precision import wide

Norm = Callable[[Tensor], Tensor]
both = pytest.mark.parametrize("norm", [unit_norm, rms_norm])


def noise(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn((50, 64), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


@both
def test_a_zero_row_stays_zero(norm: Norm) -> None:
    x = noise(torch.float32)
    x[3] = 0
    x.requires_grad_()
    y = norm(x)
    assert torch.equal(y[3], torch.zeros(64))
    assert torch.isfinite(y).all() and (y[4] != 0).any()
    y.sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_unit_norm_has_norm_1_and_keeps_the_direction() -> None:
    x = noise() * 37
    torch.testing.assert_close(unit_norm(x).norm(dim=-1), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(unit_norm(x), x / x.norm(dim=-1, keepdim=True))


def test_unit_norm_of_a_tiny_row_is_still_1() -> None:
    torch.testing.assert_close(unit_norm(noise(torch.float32) * 1e-9).norm(dim=-1), torch.ones(50))


def test_rms_norm_has_mean_square_1() -> None:
    y = rms_norm(noise() * 37)
    torch.testing.assert_close(y.square().mean(dim=-1), torch.ones(50, dtype=torch.float64))


@both
def test_bfloat16_is_computed_in_float32(norm: Norm) -> None:
    x = noise(torch.bfloat16)
    y = norm(x)
    assert y.dtype == torch.bfloat16
    # All that may be lost is the last rounding: the float32 result, cast.
    assert torch.equal(y, norm(x.float()).bfloat16())
    torch.testing.assert_close(y.double(), norm(x.double()), rtol=2**-7.9, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@both
def test_dtype_is_kept(norm: Norm, dtype: torch.dtype) -> None:
    assert norm(noise(dtype)).dtype == dtype


def test_wide_never_narrows() -> None:
    assert wide(noise(torch.bfloat16)).dtype == wide(noise(torch.float32)).dtype == torch.float32
    assert wide(noise()).dtype == torch.float64
