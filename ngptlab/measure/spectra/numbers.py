"""The part of a run's spectra.json that describes matrices."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from ngptlab.measure.spread import Spread


class Spectrum(TypedDict):
    """The numbers of one matrix."""

    rows: int
    columns: int
    condition: Annotated[float, Field(ge=1)] | None
    """Largest over smallest singular value; None for a singular matrix."""
    effective_rank: float
    stable_rank: float
    full_rank: int
    """Upper limit of the ranks."""
    spectral_norm: float
    norms_along: Spread
    """Norms of its vectors along d_model, which a constraint may hold at 1."""
    norms_across: Spread
    """Norms of its vectors across d_model, one for each channel of the hidden state."""
    singular_values: list[float]
    """Singular values, largest first."""


class MatrixSpectrum(Spectrum):
    """The numbers of one matrix in one view, with its place in the model."""

    name: str
    layer: int | None
    """Number of its block; None for embeddings."""
    place: str
    view: str
    head: int | None
    """Number of the head, from 0 on; None for a whole matrix."""


class Spectra(TypedDict):
    """All matrices of a model, and its embeddings as sets of vectors."""

    eval: str
    step: int
    matrices: list[MatrixSpectrum]
    embeddings: list[dict[str, Any]]
