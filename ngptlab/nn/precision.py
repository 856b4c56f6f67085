"""The precision in which the equations are computed, and what counts as zero."""

from __future__ import annotations

import torch
from torch import Tensor

NORM_FLOOR = 1e-12
"""Norm below which a vector counts as zero, so that an all-zero vector stays zero instead of becoming NaN."""


def wide(x: Tensor) -> Tensor:
    """`x` in float32, or as it is where it is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
