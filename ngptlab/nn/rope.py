"""Rotary position embedding, half-split: channel j of a head turns with channel j + K/2 (arXiv:2104.09864)."""

from __future__ import annotations

import torch
from torch import Tensor

from ngptlab.nn.norms import wide

Rope = tuple[Tensor, Tensor]
"""Cosines and sines, each [T, K/2], float32 at least."""

BASE = 10_000.0


def rope_tables(length: int, d_head: int, *, like: Tensor) -> Rope:
    """Angles position * BASE^(-2j/K) for positions 0 .. length-1, on the device of `like`."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    # The table itself is made in float64: at position 8k, float32 angles are already off by 5e-4.
    j = torch.arange(0, d_head, 2, dtype=torch.float64, device=like.device)
    position = torch.arange(length, dtype=torch.float64, device=like.device)
    angle_Tk = torch.outer(position, BASE ** (-j / d_head))
    return angle_Tk.cos().to(dtype), angle_Tk.sin().to(dtype)


def rotate(x_BHTK: Tensor, rope: Rope) -> Tensor:
    """Turn each pair of channels by its position's angle; keeps every norm."""
    cos_Tk, sin_Tk = rope
    a, b = wide(x_BHTK).chunk(2, dim=-1)
    return torch.cat((a * cos_Tk - b * sin_Tk, b * cos_Tk + a * sin_Tk), dim=-1).to(x_BHTK.dtype)
