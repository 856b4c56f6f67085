"""Spectra of a whole model: every matrix, attention's matrices also by head, and the two embeddings as sets of vectors.

Heads are measured because each acts as one linear map. A whole square matrix has a larger condition number than its heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ngptlab.measure.matrices import VIEWS, Matrix, View, matrix_names, under_views
from ngptlab.measure.spectra.embeddings import cloud
from ngptlab.measure.spectra.numbers import MatrixSpectrum
from ngptlab.measure.spectra.spectrum import spectrum
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.roles import Role, roles

Track = Callable[[Sequence[str]], Iterable[str]]
"""Iterates over the names of matrices and shows progress."""


def spectra(model: Decoder, *, views: Sequence[View] = VIEWS, track: Track = iter) -> dict[str, Any]:
    """Records of every matrix, as stored and in every view that differs from it, and of the embeddings."""
    records: list[MatrixSpectrum] = []
    clouds = []
    kinds = roles(model)
    for name in track(matrix_names(model)):
        for matrix in under_views(model, name, views):
            records += list(_records(matrix))
            if kinds[name] in (Role.EMBEDDING, Role.UNEMBEDDING):
                clouds.append(cloud(matrix))
    return {"matrices": records, "embeddings": clouds}


def _records(matrix: Matrix) -> Iterator[MatrixSpectrum]:
    heads = enumerate(matrix.heads()) if matrix.num_heads > 1 else ()
    for head, values in [(None, matrix.values), *heads]:
        yield {
            "name": matrix.name,
            "layer": matrix.layer,
            "place": matrix.place,
            "view": matrix.view,
            "head": head,
            **spectrum(values, matrix.d_model_axis),
        }
