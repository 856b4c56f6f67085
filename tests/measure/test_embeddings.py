"""Embeddings as clouds of vectors, against loops over pairs and numpy's covariance."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ngptlab.measure.matrices import Matrix
from ngptlab.measure.spectra import embeddings as embeddings_module
from ngptlab.measure.spectra.embeddings import cloud, cosines

VECTORS = np.random.default_rng(0).normal(size=(40, 6)) * np.linspace(1, 3, 6) + 2.0

# Float64, sums of at most 1,600 terms.
TOLERANCE = 1e-11


def matrix(vectors_VD: np.ndarray) -> Matrix:
    return Matrix("E_in", "stored", torch.from_numpy(vectors_VD), 1, 1)


def plain_cosines(vectors_VD: np.ndarray) -> list[float]:
    found = []
    for i in range(len(vectors_VD)):
        for j in range(i):
            a, b = vectors_VD[i], vectors_VD[j]
            found.append(float(a @ b) / math.sqrt(float(a @ a) * float(b @ b)))
    return found


def test_norms_and_eigenvalues() -> None:
    found = cloud(matrix(VECTORS))
    norms = np.sqrt((VECTORS**2).sum(1))
    assert found["tokens"] == 40
    assert found["norms"]["mean"] == pytest.approx(norms.mean(), rel=TOLERANCE)
    assert found["norms"]["percentiles"][::25] == pytest.approx(
        np.percentile(norms, [0, 25, 50, 75, 100]), rel=TOLERANCE
    )
    covariance = np.linalg.eigvalsh(np.cov(VECTORS.T, bias=True))[::-1]
    assert found["covariance_eigenvalues"] == pytest.approx(covariance, rel=TOLERANCE)
    gram = np.linalg.svd(VECTORS, compute_uv=False) ** 2 / 40
    assert found["gram_eigenvalues"] == pytest.approx(gram, rel=TOLERANCE)
    assert gram[0] > 1.5 * covariance[0], "the mean must matter, or the two could be confused"


def test_covariance_survives_a_large_common_direction() -> None:
    """Every vector near one of length 2e7: taking the squares of the means off would leave no digit."""
    shift = np.full(6, 1e7)
    found = cloud(matrix(VECTORS + shift))["covariance_eigenvalues"]
    # Adding the shift itself rounds by 1e7 * 1.1e-16 = 1e-9.
    assert found == pytest.approx(cloud(matrix(VECTORS))["covariance_eigenvalues"], rel=1e-7)


def test_all_cosines() -> None:
    found, plain = cosines(torch.from_numpy(VECTORS)), plain_cosines(VECTORS)
    assert (found["pairs"], found["count"]) == ("exact", 780)
    assert found["mean"] == pytest.approx(np.mean(plain), rel=TOLERANCE)
    assert found["rms"] == pytest.approx(math.sqrt(np.mean(np.square(plain))), rel=TOLERANCE)
    assert found["std"] == pytest.approx(np.std(plain), rel=TOLERANCE)
    assert found["percentiles"] == pytest.approx(np.percentile(plain, range(101)), rel=TOLERANCE, abs=1e-13)


def test_a_sample_has_the_exact_mean_and_nearly_the_exact_distribution() -> None:
    exact = cosines(torch.from_numpy(VECTORS))
    sampled = cosines(torch.from_numpy(VECTORS), exact_pairs=779)
    assert (sampled["pairs"], sampled["count"]) == ("sampled", 2**20)
    assert (sampled["mean"], sampled["rms"]) == (exact["mean"], exact["rms"])
    # Of 780 values each is a step of 0.13% of the distribution; a million draws place a quantile to 0.1% of them.
    plain = np.sort(plain_cosines(VECTORS))
    for level in range(1, 100):
        low, high = plain[max(0, int(7.8 * level) - 4)], plain[min(779, int(7.8 * level) + 5)]
        assert low <= sampled["percentiles"][level] <= high, level
    assert sampled == cosines(torch.from_numpy(VECTORS), exact_pairs=779), "the seed is fixed"


def test_a_sample_never_pairs_a_token_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings_module, "SAMPLED_PAIRS", 5000)
    found = cosines(torch.eye(3, dtype=torch.float64), exact_pairs=0)
    assert found["count"] == 5000 and found["max"] == 0 == found["min"]


def test_known_clouds() -> None:
    alike = cosines(torch.from_numpy(np.outer(np.arange(1, 6), VECTORS[0])))
    assert (alike["mean"], alike["min"], alike["rms"]) == pytest.approx((1, 1, 1), rel=1e-14)
    opposite = cosines(torch.tensor([[2.0, 0.0], [-5.0, 0.0]]).double())
    assert (opposite["mean"], opposite["max"], opposite["rms"]) == (-1, -1, 1)


def test_zero_vectors_have_no_cosine() -> None:
    padded = np.concatenate((VECTORS, np.zeros((3, 6))))
    assert cosines(torch.from_numpy(padded)) == cosines(torch.from_numpy(VECTORS))
    assert cosines(torch.zeros(3, 6).double()) == {"pairs": "exact", "count": 0}
    assert cloud(matrix(padded))["norms"]["min"] == 0
