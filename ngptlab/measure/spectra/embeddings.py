"""Embeddings as one vector for each token: norms, pairwise cosines, eigenvalues (arXiv:2410.01131, figure 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngptlab.measure.matrices import Matrix, unit_vectors
from ngptlab.measure.spectra.spectrum import ROWS_AT_ONCE
from ngptlab.measure.spread import percentiles, spread

EXACT_PAIRS = 2**22
"""Up to this number of pairs (2,896 tokens), all cosines are computed. Above it, pairs are sampled."""
SAMPLED_PAIRS = 2**20
"""Number of sampled pairs. A percentile is then off by less than 0.1% of the pairs (two standard errors)."""


def cloud(matrix: Matrix) -> dict[str, Any]:
    """The numbers of one matrix [V, D], with a vector for each token.

    `gram_eigenvalues` belong to E^T E / V, `covariance_eigenvalues` to the same with the mean vector subtracted, [D] each,
    largest first. Tokens that the tokenizer never gives (a padded vocabulary) count like all others.
    """
    vectors_VD = matrix.values
    norms_V = torch.linalg.vector_norm(vectors_VD, dim=1).numpy()
    return {
        "name": matrix.name,
        "view": matrix.view,
        "tokens": len(vectors_VD),
        "norms": {**spread(norms_V), "percentiles": percentiles(norms_V)},
        "cosines": cosines(vectors_VD),
        "gram_eigenvalues": _eigenvalues(_second_moment(vectors_VD)),
        # The mean is subtracted first, because E^T E / V - m m^T loses all digits where the vectors point one way.
        "covariance_eigenvalues": _eigenvalues(_second_moment(vectors_VD - vectors_VD.mean(0))),
    }


def cosines(vectors_VD: Tensor, *, exact_pairs: int = EXACT_PAIRS) -> dict[str, Any]:
    """Cosines between the vectors of two different tokens, over all pairs or a sample of them.

    `mean` and `rms` are always over all pairs, because they follow from the sum of the unit vectors and their Gram matrix.
    The spread is over `count` pairs: `pairs` says whether all, or a sample with a fixed seed. Zero vectors are left out.
    """
    unit_VD = unit_vectors(vectors_VD, 1)
    unit_VD = unit_VD[torch.linalg.vector_norm(unit_VD, dim=1) > 0.5]
    number = len(unit_VD)
    if number < 2:
        return {"pairs": "exact", "count": 0}
    total = number * (number - 1)
    mean = float((unit_VD.sum(0).square().sum() - number) / total)
    square = float(((unit_VD.T @ unit_VD).square().sum() - number) / total)
    exact = total // 2 <= exact_pairs
    found = _all_cosines(unit_VD) if exact else _sampled_cosines(unit_VD, SAMPLED_PAIRS)
    return {
        "pairs": "exact" if exact else "sampled",
        "count": len(found),
        **spread(found),
        "mean": mean,
        "rms": max(square, 0.0) ** 0.5,
        "percentiles": percentiles(found),
    }


def _all_cosines(unit_VD: Tensor) -> NDArray[np.float64]:
    first, second = torch.triu_indices(len(unit_VD), len(unit_VD), offset=1)
    return (unit_VD @ unit_VD.T)[first, second].numpy()


def _sampled_cosines(unit_VD: Tensor, count: int) -> NDArray[np.float64]:
    """Cosines of pairs drawn with replacement; the two tokens of a pair differ."""
    draw, number = np.random.default_rng(0), len(unit_VD)
    first = draw.integers(number, size=count)
    second = (first + draw.integers(1, number, size=count)) % number
    chunks = np.arange(0, count, ROWS_AT_ONCE)
    found = [
        (unit_VD[first[at : at + ROWS_AT_ONCE]] * unit_VD[second[at : at + ROWS_AT_ONCE]]).sum(1)
        for at in chunks
    ]
    return torch.cat(found).numpy()


def _second_moment(vectors_VD: Tensor) -> Tensor:
    return vectors_VD.T @ vectors_VD / len(vectors_VD)


def _eigenvalues(symmetric_DD: Tensor) -> list[float]:
    """Eigenvalues, largest first; those that rounding leaves below zero are set to zero."""
    return torch.linalg.eigvalsh(symmetric_DD).flip(0).clamp_min(0).tolist()  # type: ignore[no-any-return]
