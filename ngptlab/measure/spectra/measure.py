"""Spectra of a whole model: every matrix, attention's by head as well, and the two embeddings as clouds of vectors.

A head is what acts as one linear map, and a whole square matrix has a larger condition number than any of its heads.
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
"""Passes the names of matrices on, and shows how far the work is."""


def spectra(model: Decoder, *, views: Sequence[View] = VIEWS, track: Track = iter) -> dict[str, Any]:
    """Records of every matrix under every view that differs from the stored one, and of the embeddings."""
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
