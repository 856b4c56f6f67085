"""Matrices that keep the norm they started with, and turn by an angle that the learning rate sets.

Source: arXiv:2606.16899, read in its authors' notes of December 2025 (whenwen.github.io): W <- R normalize(W - lr R u / |u|) with
R = |W| at the start, and Frobenius norms. u is any optimizer's direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ngptlab.config.draws import USUAL_STD
from ngptlab.nn.optimizers import BesideAdamW
from ngptlab.nn.precision import wide
from ngptlab.nn.roles import Role
from ngptlab.nn.updates import State

TINY = 1e-30
"""Less than any norm that is not zero. A vector of zeros that is divided by it stays zero."""


@dataclass(frozen=True)
class OnHyperballs(BesideAdamW):
    """The matrices of blocks on hyperballs, without decay; AdamW for embedding, head and scales.

    The sources use learning rates of 0.018 to 0.02 for the matrices, some ten times AdamW's. The factor is ours, and makes one
    learning rate fit both.
    """

    rate: float = 10.0
    """Factor on the learning rate of the matrices."""

    def lr_factor(self, role: Role) -> float:
        return self.rate if role in self.roles else 1.0

    def decay_factor(self, role: Role) -> float:
        return 0.0 if role in self.roles else 1.0


def turn(weight: Tensor, direction: Tensor, state: State, lr: float) -> None:
    """Move a matrix against `direction` on its hyperball, in place. Its first norm is kept in the state.

    A direction of zeros leaves it where it is. A matrix that starts at zero has no norm to keep, and would stay zero. It moves
    freely instead, by steps as long as those of a matrix drawn as usual (ours; the sources start none at zero).
    """
    if "radius" not in state:
        state["radius"] = _norm(weight)
    radius = state["radius"]
    usual = USUAL_STD * weight.numel() ** 0.5
    length = lr * torch.where(radius > 0, radius, usual)
    moved = wide(weight) - direction * (length / _norm(direction).clamp_min(TINY))
    weight.copy_(torch.where(radius > 0, moved * (radius / _norm(moved).clamp_min(TINY)), moved))


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(wide(x))  # type: ignore[no-any-return]
