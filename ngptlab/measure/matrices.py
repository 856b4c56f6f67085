"""The matrices of a model, ready for measuring: in float64, whole and by head, as stored and as used in a forward pass.

A method may fold trained scales into the rows of a matrix before the product (`Gate.rows`, `Logits.rows`). Then the hidden
state is multiplied by another matrix than the stored one, and the two have different spectra.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ngptlab.nn.blocks import Attention, Mlp
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.precision import NORM_FLOOR
from ngptlab.nn.roles import d_model_axes, placed

View = Literal["stored", "effective", "unit"]
VIEWS: tuple[View, ...] = ("stored", "effective", "unit")
"""`stored`: the parameter. `effective`: with scales folded into its rows. `unit`: its vectors along d_model normed to 1."""

UNIT_TOLERANCE = 1e-5
"""Norms this near to 1 count as 1, so that `unit` equals `stored`. Rounding of float32 is a tenth of it."""


@dataclass(frozen=True)
class Matrix:
    """One matrix in one view."""

    name: str
    """Full name of the parameter."""
    view: View
    values: Tensor
    """[out, in], float64, on the CPU."""
    d_model_axis: int
    num_heads: int
    """Number of heads that share the matrix; 1 outside of attention."""

    @property
    def layer(self) -> int | None:
        """Number of its block; None for the embeddings."""
        return placed(self.name)[0]

    @property
    def place(self) -> str:
        """Name of the matrix inside its block."""
        return placed(self.name)[1]

    def heads(self) -> list[Tensor]:
        """The part of each head, cut along the axis that is not d_model: rows of W_q, W_k, W_v, columns of W_o."""
        return list(self.values.chunk(self.num_heads, dim=1 - self.d_model_axis))


def unit_vectors(values: Tensor, axis: int) -> Tensor:
    """Every vector along `axis` divided by its norm; a zero vector stays zero."""
    norms: Tensor = torch.linalg.vector_norm(values, dim=axis, keepdim=True)
    return values / norms.clamp_min(NORM_FLOOR)


def matrix_names(model: Decoder) -> list[str]:
    """Names of the parameters that are matrices, in their order."""
    return list(d_model_axes(model))


@torch.no_grad()
def under_views(model: Decoder, name: str, views: Sequence[View] = VIEWS) -> Iterator[Matrix]:
    """One matrix in each of `views`, one at a time; a view that equals the stored matrix is left out."""
    parent = model.get_submodule(name.rpartition(".")[0])
    axis = d_model_axes(model)[name]
    stored = model.get_parameter(name)
    heads = stored.shape[1 - axis] // parent.d_head if isinstance(parent, Attention) else 1
    effective = _effective(parent, stored)
    wide = stored.double().cpu()
    for view in views:
        if view == "stored":
            yield Matrix(name, view, wide, axis, heads)
        elif view == "effective" and effective is not stored:
            yield Matrix(name, view, effective.double().cpu(), axis, heads)
        elif view == "unit" and _far_from_unit(wide, axis):
            yield Matrix(name, view, unit_vectors(wide, axis), axis, heads)


def _effective(parent: nn.Module, stored: Tensor) -> Tensor:
    """The matrix that multiplies the hidden state; the stored one itself where no part scales its rows."""
    if isinstance(parent, Mlp):
        return parent.as_used(stored)
    if isinstance(parent, Decoder) and stored is parent.head:
        return parent.logits_map.rows(stored)  # type: ignore[no-any-return]
    return stored


def _far_from_unit(values: Tensor, axis: int) -> bool:
    norms = torch.linalg.vector_norm(values, dim=axis)
    return bool(((norms - 1).abs() > UNIT_TOLERANCE).any())
