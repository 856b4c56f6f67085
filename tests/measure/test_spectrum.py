"""Spectral numbers against matrices whose spectra are known, and against numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ngptlab.measure.spectra import spectrum as spectrum_module
from ngptlab.measure.spectra.spectrum import singular_values, spectrum

# Singular values are within some roundings of float64 (1.1e-16) of the largest; sums over 30 of them lose little more.
TOLERANCE = 1e-13


def orthonormal(rows: int, columns: int, seed: int = 0) -> Tensor:
    """[rows, columns] with orthonormal columns."""
    draw = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(draw).Q


def with_spectrum(values: list[float], rows: int) -> Tensor:
    """[rows, n] with these singular values."""
    n = len(values)
    return (
        orthonormal(rows, n, 1)
        @ torch.diag(torch.tensor(values, dtype=torch.float64))
        @ orthonormal(n, n, 2).T
    )


def test_an_orthogonal_matrix_has_all_of_its_rank() -> None:
    found = spectrum(3.5 * orthonormal(12, 12), 1)
    assert found["condition"] == pytest.approx(1, rel=TOLERANCE)
    assert found["effective_rank"] == pytest.approx(12, rel=TOLERANCE)
    assert found["stable_rank"] == pytest.approx(12, rel=TOLERANCE)
    assert found["spectral_norm"] == pytest.approx(3.5, rel=TOLERANCE)
    assert found["singular_values"] == pytest.approx([3.5] * 12, rel=TOLERANCE)
    assert (found["rows"], found["columns"], found["full_rank"]) == (12, 12, 12)


def test_a_matrix_of_rank_one() -> None:
    found = spectrum(torch.outer(torch.arange(1.0, 7.0), torch.arange(1.0, 5.0)).double(), 1)
    assert found["condition"] is None, "singular: no number is large enough"
    # Each of the other singular values is rounding, of share 1e-17; a share times its logarithm is below 1e-15.
    assert found["effective_rank"] == pytest.approx(1, abs=1e-14)
    assert found["stable_rank"] == pytest.approx(1, rel=TOLERANCE)


def test_a_diagonal_matrix() -> None:
    """Shares 1/2, 1/4, 1/8, 1/8: entropy 1.75 ln 2. Squares 16, 4, 1, 1 over 16."""
    found = spectrum(torch.diag(torch.tensor([1.0, 4.0, 1.0, 2.0])).double(), 1)
    assert found["singular_values"] == [4, 2, 1, 1]
    assert found["condition"] == 4
    assert found["effective_rank"] == pytest.approx(2**1.75, rel=TOLERANCE)
    assert found["stable_rank"] == 22 / 16


def test_zeros_have_no_rank() -> None:
    found = spectrum(torch.zeros(3, 4, dtype=torch.float64), 1)
    assert (found["condition"], found["effective_rank"], found["stable_rank"]) == (None, 0, 0)


@pytest.mark.parametrize("shape", [(7, 30), (30, 7), (16, 16)])
def test_against_numpy(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    found = spectrum(torch.from_numpy(values), 0)
    plain = np.linalg.svd(values, compute_uv=False)
    assert found["singular_values"] == pytest.approx(plain, rel=1e-12)
    assert found["condition"] == pytest.approx(np.linalg.cond(values), rel=1e-12)
    shares = [value / sum(plain) for value in plain]
    assert found["effective_rank"] == pytest.approx(math.prod(p**-p for p in shares), rel=1e-12)
    squares = np.linalg.norm(values, "fro") ** 2 / np.linalg.norm(values, 2) ** 2
    assert found["stable_rank"] == pytest.approx(squares, rel=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
def test_norms_along_and_across(axis: int) -> None:
    values = np.random.default_rng(1).normal(size=(5, 9)) * np.arange(1, 10)
    found = spectrum(torch.from_numpy(values), axis)
    along, across = (np.sqrt((values**2).sum(axis=a)) for a in (axis, 1 - axis))
    for name, norms in (("norms_along", along), ("norms_across", across)):
        assert found[name]["mean"] == pytest.approx(norms.mean(), rel=TOLERANCE)
        assert found[name]["std"] == pytest.approx(math.sqrt(((norms - norms.mean()) ** 2).mean()), rel=1e-12)
        assert (found[name]["min"], found[name]["max"]) == pytest.approx(
            (norms.min(), norms.max()), rel=TOLERANCE
        )
        assert found[name]["q50"] == pytest.approx(np.median(norms), rel=TOLERANCE)
    assert along.mean() != pytest.approx(across.mean(), rel=0.1), "or the axes could be confused"


def test_a_tall_matrix_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A condition number of 1e12 is kept, which the eigenvalues of E^T E would lose (its square is beyond float64)."""
    monkeypatch.setattr(spectrum_module, "ROWS_AT_ONCE", 7)
    known = [1e3, 5.0, 5.0, 0.25, 1e-9]
    found = singular_values(with_spectrum(known, rows=83))
    assert len(found) == 5
    # Absolute: each is within some roundings of the largest, 1e3 * 1e-16.
    assert found == pytest.approx(known, rel=0, abs=2e-12)
    assert found[-1] == pytest.approx(1e-9, rel=2e-3)
