"""What spectra.json of a run holds of the matrices."""

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
    """Largest over smallest singular value; None of a singular matrix."""
    effective_rank: float
    stable_rank: float
    full_rank: int
    """The most that the ranks can be."""
    spectral_norm: float
    norms_along: Spread
    """Norms of its vectors along d_model, which a constraint may hold at 1."""
    norms_across: Spread
    """Norms of its vectors across, one for each channel of the stream."""
    singular_values: list[float]
    """The largest first."""


class MatrixSpectrum(Spectrum):
    """The same with the matrix's place, under one view."""

    name: str
    layer: int | None
    """None of embeddings."""
    place: str
    view: str
    head: int | None
    """None of a whole matrix; of what one head has of it, the head's number from 0 on."""


class Spectra(TypedDict):
    """All matrices of a model, and its embeddings as clouds of vectors."""

    eval: str
    step: int
    matrices: list[MatrixSpectrum]
    embeddings: list[dict[str, Any]]
