"""Unit norm, turn and scale of queries and keys; the plain formula is in `nn.functions`.

A program works on one head, at some positions at a time. Channel j turns with channel j + half, so a vector is two halves, with
1 and 2 in their names. Axes: P positions of a program, J half of a head's channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ngptlab.nn.fast.kernels.launch import column_sums, jit, programs, tile, tl, triton

TILE_VALUES = 8
"""Values of a tile of halves in one thread: a load of 16 bytes in bfloat16. With the tile's size, the fastest of nine pairs."""


@jit
def _where(first, tokens, length, heads, half, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Offsets of a tile's values and of their cosines, and a mask of those that exist."""
    token = first * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    at_PJ = ((token.to(tl.int64) * heads + tl.program_id(1)) * 2 * half)[:, None] + column[None, :]
    angle_PJ = ((token % length) * 2 * half)[:, None] + column[None, :]
    return at_PJ, angle_PJ, (token < tokens)[:, None] & (column < half)[None, :]


@jit
def _halves(x, at_PJ, half, there_PJ):
    x1_PJ = tl.load(x + at_PJ, mask=there_PJ, other=0.0).to(tl.float32)
    x2_PJ = tl.load(x + at_PJ + half, mask=there_PJ, other=0.0).to(tl.float32)
    return x1_PJ, x2_PJ


@jit
def _store_halves(x, at_PJ, half, there_PJ, x1_PJ, x2_PJ):
    tl.store(x + at_PJ, x1_PJ.to(x.dtype.element_ty), mask=there_PJ)
    tl.store(x + at_PJ + half, x2_PJ.to(x.dtype.element_ty), mask=there_PJ)


@jit
def _scales(scale, half, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    s1_J, s2_J = _halves(scale + tl.program_id(1) * 2 * half, column, half, column < half)
    return s1_J[None, :], s2_J[None, :]


@jit
def _unit(x, at_PJ, half, there_PJ, floor):
    x1_PJ, x2_PJ = _halves(x, at_PJ, half, there_PJ)
    per_P1 = tl.rsqrt(tl.sum(x1_PJ * x1_PJ + x2_PJ * x2_PJ, 1) + floor)[:, None]
    return x1_PJ * per_P1, x2_PJ * per_P1, per_P1


@jit
def _forward_one(x, y, at_PJ, half, there_PJ, floor, cos_PJ, sin_PJ, s1_1J, s2_1J):
    u1_PJ, u2_PJ, _ = _unit(x, at_PJ, half, there_PJ, floor)
    y1_PJ = (u1_PJ * cos_PJ - u2_PJ * sin_PJ) * s1_1J
    y2_PJ = (u2_PJ * cos_PJ + u1_PJ * sin_PJ) * s2_1J
    _store_halves(y, at_PJ, half, there_PJ, y1_PJ, y2_PJ)


@jit
def _forward(
    q, k, cos, sin, scale, y_q, y_k, tokens, length, heads, floor,
    half: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at_PJ, angle_PJ, there_PJ = _where(tl.program_id(0), tokens, length, heads, half, ROWS, BLOCK)
    cos_PJ = tl.load(cos + angle_PJ, mask=there_PJ, other=0.0)
    sin_PJ = tl.load(sin + angle_PJ + half, mask=there_PJ, other=0.0)
    s1_1J, s2_1J = _scales(scale, half, BLOCK)
    _forward_one(q, y_q, at_PJ, half, there_PJ, floor, cos_PJ, sin_PJ, s1_1J, s2_1J)
    _forward_one(k, y_k, at_PJ, half, there_PJ, floor, cos_PJ, sin_PJ, s1_1J, s2_1J)


@jit
def _backward_one(dy, x, dx, at_PJ, half, there_PJ, floor, cos_PJ, sin_PJ, s1_1J, s2_1J):
    """With u = x / |x|, r = u turned, y = s r: the gradient of x, and of s before it is summed over positions."""
    u1_PJ, u2_PJ, per_P1 = _unit(x, at_PJ, half, there_PJ, floor)
    dy1_PJ, dy2_PJ = _halves(dy, at_PJ, half, there_PJ)
    ds1_PJ = dy1_PJ * (u1_PJ * cos_PJ - u2_PJ * sin_PJ)
    ds2_PJ = dy2_PJ * (u2_PJ * cos_PJ + u1_PJ * sin_PJ)
    dr1_PJ, dr2_PJ = dy1_PJ * s1_1J, dy2_PJ * s2_1J
    du1_PJ = dr1_PJ * cos_PJ + dr2_PJ * sin_PJ
    du2_PJ = dr2_PJ * cos_PJ - dr1_PJ * sin_PJ
    along_P1 = tl.sum(u1_PJ * du1_PJ + u2_PJ * du2_PJ, 1)[:, None]
    dx1_PJ, dx2_PJ = per_P1 * (du1_PJ - u1_PJ * along_P1), per_P1 * (du2_PJ - u2_PJ * along_P1)
    _store_halves(dx, at_PJ, half, there_PJ, dx1_PJ, dx2_PJ)
    return ds1_PJ, ds2_PJ


@jit
def _backward(
    dy_q, dy_k, q, k, cos, sin, scale, dq, dk, dscale, tokens, length, heads, floor,
    half: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    s1_1J, s2_1J = _scales(scale, half, BLOCK)
    ds1_PJ, ds2_PJ = tl.zeros((ROWS, BLOCK), tl.float32), tl.zeros((ROWS, BLOCK), tl.float32)
    for turn in range(0, tl.cdiv(tokens, ROWS * tl.num_programs(0))):
        first = tl.program_id(0) + turn * tl.num_programs(0)
        at_PJ, angle_PJ, there_PJ = _where(first, tokens, length, heads, half, ROWS, BLOCK)
        cos_PJ = tl.load(cos + angle_PJ, mask=there_PJ, other=0.0)
        sin_PJ = tl.load(sin + angle_PJ + half, mask=there_PJ, other=0.0)
        more1_PJ, more2_PJ = _backward_one(
            dy_q, q, dq, at_PJ, half, there_PJ, floor, cos_PJ, sin_PJ, s1_1J, s2_1J
        )
        ds1_PJ, ds2_PJ = ds1_PJ + more1_PJ, ds2_PJ + more2_PJ
        more1_PJ, more2_PJ = _backward_one(
            dy_k, k, dk, at_PJ, half, there_PJ, floor, cos_PJ, sin_PJ, s1_1J, s2_1J
        )
        ds1_PJ, ds2_PJ = ds1_PJ + more1_PJ, ds2_PJ + more2_PJ
    column = tl.arange(0, BLOCK)
    share = dscale + (tl.program_id(0) * heads + tl.program_id(1)) * 2 * half
    _store_halves(share, column, half, column < half, tl.sum(ds1_PJ, 0), tl.sum(ds2_PJ, 0))


def queries_keys(
    q_BTHK: Tensor, k_BTHK: Tensor, cos_T1K: Tensor, sin_T1K: Tensor, s_HK: Tensor, *, floor: float
) -> tuple[Tensor, Tensor]:
    """s turned(x / sqrt(|x|^2 + floor)) of queries and of keys. All inputs are contiguous."""
    y_q, y_k = torch.empty_like(q_BTHK), torch.empty_like(k_BTHK)
    sizes, meta = _shape(q_BTHK, cos_T1K)
    grid = triton.cdiv(sizes[0], meta["ROWS"]), len(s_HK)
    _forward[grid](q_BTHK, k_BTHK, cos_T1K, sin_T1K, s_HK, y_q, y_k, *sizes, floor, **meta)
    return y_q, y_k


def queries_keys_backward(
    dy_q: Tensor, dy_k: Tensor, q_BTHK: Tensor, k_BTHK: Tensor, cos_T1K: Tensor, sin_T1K: Tensor, s_HK: Tensor, *, floor: float
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of queries, keys and s."""
    dq_BTHK, dk_BTHK = torch.empty_like(q_BTHK), torch.empty_like(k_BTHK)
    sizes, meta = _shape(q_BTHK, cos_T1K)
    tiles, heads = triton.cdiv(sizes[0], meta["ROWS"]), len(s_HK)
    shares = max(1, min(tiles, programs(q_BTHK) // heads))
    ds_PHK = s_HK.new_empty(shares, *s_HK.shape, dtype=torch.float32)
    _backward[(shares, heads)](
        dy_q, dy_k, q_BTHK, k_BTHK, cos_T1K, sin_T1K, s_HK, dq_BTHK, dk_BTHK, ds_PHK, *sizes, floor, **meta,
    )  # fmt: skip
    return dq_BTHK, dk_BTHK, column_sums(ds_PHK.flatten(1)).view_as(s_HK).to(s_HK.dtype)


def _shape(x_BTHK: Tensor, cos_T1K: Tensor) -> tuple[tuple[int, int, int], dict[str, int]]:
    """Positions in all, positions of a sequence, heads; and the constants compiled into the kernel."""
    B, T, H, K = x_BTHK.shape
    assert cos_T1K.shape == (T, 1, K), "a table of every position"
    return (B * T, T, H), {"half": K // 2, **tile(K // 2, TILE_VALUES)}
