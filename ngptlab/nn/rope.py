"""Rotary position embedding, half-split: channel j of a head turns with channel j + K/2 (arXiv:2104.09864)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, library

from ngptlab.nn.operators import operator

Rope = tuple[Tensor, Tensor]
"""Cosines and signed sines, each [T, H, K] or [T, 1, K], float32 at least, the same in every head.

Where channel j turns with channel j + K/2 by an angle, both have its cosine, the first has minus its sine and the second
its sine: x cos + swapped(x) sin is x turned.
"""

BASE = 10_000.0


@dataclass(frozen=True)
class Angles:
    """How angles follow from positions: position / stretch * base^(-2j/K). The defaults are those of training.

    A stretch of 4 puts four times the training length into the angles that were trained: position interpolation
    (arXiv:2306.15595). A larger base leaves fast pairs nearly alone and slows slow ones down: NTK-aware scaling.
    """

    base: float = BASE
    stretch: float = 1.0


TRAINED = Angles()


def rope_tables(
    length: int, num_heads: int, d_head: int, *, like: Tensor, first: int = 0, angles: Angles = TRAINED
) -> Rope:
    """Tables for `length` positions from `first` on, on the device of `like`."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    make = _compiled_tables if torch.compiler.is_compiling() else _tables
    cos_T1K, sin_T1K = make(first, length, d_head, angles.base, angles.stretch, dtype, like.device)
    if like.is_cuda:
        return cos_T1K, sin_T1K  # small enough to stay in a cache
    # Written out for every head: an elementwise product with a table of the full shape is faster on a CPU.
    return cos_T1K.repeat(1, num_heads, 1), sin_T1K.repeat(1, num_heads, 1)


def for_heads(rope: Rope, x_BTHK: Tensor) -> Rope:
    """Tables for `x`, which may have fewer heads than the tables."""
    cos_THK, sin_THK = rope
    if cos_THK.shape[-2] <= x_BTHK.shape[2]:
        return rope
    return cos_THK[..., : x_BTHK.shape[2], :], sin_THK[..., : x_BTHK.shape[2], :]


def _tables(
    first: int,
    length: int,
    d_head: int,
    base: float,
    stretch: float,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines, [T, 1, K] each."""
    # In float64: at position 8k, float32 angles are already off by 5e-4.
    j = torch.arange(0, d_head, 2, dtype=torch.float64, device=device)
    position = torch.arange(first, first + length, dtype=torch.float64, device=device) / stretch
    angle_T1k = torch.outer(position, base ** (-j / d_head)).unsqueeze(1)
    cos_T1k, sin_T1k = angle_T1k.cos().to(dtype), angle_T1k.sin().to(dtype)
    return torch.cat((cos_T1k, cos_T1k), dim=-1), torch.cat((-sin_T1k, sin_T1k), dim=-1)


# An operator of its own: on CUDA the compiler would compute every cosine again, in float64, wherever one is used.
_compiled_tables = library.custom_op(operator(__name__, "tables"), _tables, mutates_args=())


_compiled_tables.register_fake(_tables)
