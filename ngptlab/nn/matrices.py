"""Matrices: their layout, and the widths at which products with them are fast."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def matrix(rows: int, columns: int) -> nn.Parameter:
    """An uninitialised weight in [out, in] layout; `Decoder.reset` fills it."""
    return nn.Parameter(torch.empty(rows, columns))


def pad(weight: Tensor, axis: int) -> Tensor:
    """`weight` with zeros added along `axis` to a multiple of 16, which matrix products need to be fast.

    With 682 channels, the replication's d_ff at width 256, a product costs up to twice what it does with 688.
    """
    missing = 0 if weight.is_meta else -weight.shape[axis] % 16  # without values, operations are counted
    return F.pad(weight, (0, 0, 0, missing) if axis == 0 else (0, missing)) if missing else weight
