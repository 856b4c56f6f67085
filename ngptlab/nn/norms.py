"""Norms over the last axis, computed in float32 at least and returned in the dtype given."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NORM_FLOOR = 1e-12
"""Smallest norm divided by, so that an all-zero vector stays zero instead of becoming NaN."""


def wide(x: Tensor) -> Tensor:
    """`x` in float32, or as it is where it is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unit_norm(x: Tensor) -> Tensor:
    """x / ||x|| over the last axis, without gain (arXiv:2410.01131, section 2)."""
    return F.normalize(wide(x), dim=-1, eps=NORM_FLOOR).to(x.dtype)


def rms_norm(x: Tensor) -> Tensor:
    """x / rms(x) over the last axis, without gain; epsilon is the machine's for the dtype of the computation."""
    return F.rms_norm(wide(x), x.shape[-1:]).to(x.dtype)
