"""The spectrum of one matrix in float64: singular values, condition number, ranks, and norms along and across d_model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngptlab.measure.spectra.numbers import Spectrum
from ngptlab.measure.spread import spread

ROWS_AT_ONCE = 8192
"""Rows of an embedding matrix that are processed at once, which bounds memory beside the matrix itself."""


def singular_values(values: Tensor) -> NDArray[np.float64]:
    """Singular values of a float64 matrix, largest first.

    A tall matrix is first brought to its triangular factor, a few rows at a time, which has the same singular values.
    """
    rows, columns = values.shape
    if rows > 2 * max(columns, ROWS_AT_ONCE):
        factor = values[:0]
        for chunk in torch.split(values, max(columns, ROWS_AT_ONCE)):
            factor = torch.linalg.qr(torch.cat((factor, chunk)), mode="r").R
        values = factor
    return torch.linalg.svdvals(values).numpy()  # type: ignore[no-any-return]


def condition_number(singular: NDArray[np.float64], shape: Sequence[int]) -> float | None:
    """Largest over smallest singular value; None where the matrix is singular to the precision of float64.

    The threshold is the one of numpy's `matrix_rank`.
    """
    smallest = singular[-1]
    if smallest <= max(shape) * np.finfo(np.float64).eps * singular[0]:
        return None
    return float(singular[0] / smallest)


def effective_rank(singular: NDArray[np.float64]) -> float:
    """exp of the entropy of the singular values over their sum (Roy and Vetterli, EUSIPCO 2007); 0 for a zero matrix."""
    total = singular.sum()
    if total == 0:
        return 0.0
    shares = singular[singular > 0] / total
    return math.exp(-float((shares * np.log(shares)).sum()))


def stable_rank(singular: NDArray[np.float64]) -> float:
    """Squared Frobenius over squared spectral norm, never above the rank; 0 for a zero matrix."""
    return float((singular**2).sum() / singular[0] ** 2) if singular[0] else 0.0


def spectrum(values: Tensor, d_model_axis: int) -> Spectrum:
    """The numbers of one float64 matrix."""
    singular = singular_values(values)
    norms = [torch.linalg.vector_norm(values, dim=axis).numpy() for axis in (0, 1)]
    return {
        "rows": values.shape[0],
        "columns": values.shape[1],
        "condition": condition_number(singular, values.shape),
        "effective_rank": effective_rank(singular),
        "stable_rank": stable_rank(singular),
        "full_rank": min(values.shape),
        "spectral_norm": float(singular[0]),
        "norms_along": spread(norms[d_model_axis]),
        "norms_across": spread(norms[1 - d_model_axis]),
        "singular_values": singular.tolist(),
    }
