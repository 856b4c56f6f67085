"""A step on the sphere; its plain formula is in `nn.functions`."""

from __future__ import annotations

import torch
from torch import Tensor

from ngptlab.nn.fast.kernels.launch import column_sums, jit, programs, tile, tl, triton

STEP_VALUES = 32
"""Values of a tile in one thread, in a sphere step and its backward. Measured at width 768, where a tile is one row."""


@jit
def _tile(first, rows, width, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """Offset of a tile, offsets of its values from there, and a mask of those that exist."""
    row, column = tl.arange(0, ROWS), tl.arange(0, BLOCK)
    at_RD = row[:, None] * width + column[None, :]
    return first.to(tl.int64) * width, at_RD, (first + row < rows)[:, None] & (column < width)[None, :]


@jit
def _rates(rate, width, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    # Loaded for every row, where the threads hold a tile's values, because a single row would have to be sent to all threads.
    column_RD = tl.broadcast_to(tl.arange(0, BLOCK)[None, :], (ROWS, BLOCK))
    return tl.load(rate + column_RD, mask=column_RD < width, other=0.0).to(tl.float32)


@jit
def _sphere_step(h, branch, rate, y, rows, width, floor, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    start, at_RD, there_RD = _tile(tl.program_id(0) * ROWS, rows, width, ROWS, BLOCK)
    h_RD = tl.load(h + start + at_RD, mask=there_RD, other=0.0).to(tl.float32)
    b_RD = tl.load(branch + start + at_RD, mask=there_RD, other=0.0).to(tl.float32)
    rate_RD = _rates(rate, width, ROWS, BLOCK)
    u_RD = b_RD * tl.rsqrt(tl.sum(b_RD * b_RD, 1) + floor)[:, None]
    t_RD = h_RD + rate_RD * (u_RD - h_RD)
    y_RD = t_RD * tl.rsqrt(tl.sum(t_RD * t_RD, 1) + floor)[:, None]
    tl.store(y + start + at_RD, y_RD.to(y.dtype.element_ty), mask=there_RD)


@jit
def _sphere_step_backward(
    dy, h, branch, rate, dh, dbranch, drate, rows, width, floor, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    # In names: u branch / |branch|, t lerp(h, u, rate), y t / |t|; d... its gradient.
    rate_RD = _rates(rate, width, ROWS, BLOCK)
    drate_RD = tl.zeros((ROWS, BLOCK), tl.float32)
    for turn in range(0, tl.cdiv(rows, ROWS * tl.num_programs(0))):
        first = (tl.program_id(0) + turn * tl.num_programs(0)) * ROWS
        start, at_RD, there_RD = _tile(first, rows, width, ROWS, BLOCK)
        dy_RD = tl.load(dy + start + at_RD, mask=there_RD, other=0.0).to(tl.float32)
        h_RD = tl.load(h + start + at_RD, mask=there_RD, other=0.0).to(tl.float32)
        b_RD = tl.load(branch + start + at_RD, mask=there_RD, other=0.0).to(tl.float32)
        per_b_R1 = tl.rsqrt(tl.sum(b_RD * b_RD, 1) + floor)[:, None]
        u_RD = b_RD * per_b_R1
        t_RD = h_RD + rate_RD * (u_RD - h_RD)
        per_t_R1 = tl.rsqrt(tl.sum(t_RD * t_RD, 1) + floor)[:, None]
        y_RD = t_RD * per_t_R1
        dt_RD = per_t_R1 * (dy_RD - y_RD * tl.sum(y_RD * dy_RD, 1)[:, None])
        du_RD = rate_RD * dt_RD
        db_RD = per_b_R1 * (du_RD - u_RD * tl.sum(u_RD * du_RD, 1)[:, None])
        drate_RD += dt_RD * (u_RD - h_RD)
        tl.store(dh + start + at_RD, (dt_RD - du_RD).to(dh.dtype.element_ty), mask=there_RD)
        tl.store(dbranch + start + at_RD, db_RD.to(dbranch.dtype.element_ty), mask=there_RD)
    column = tl.arange(0, BLOCK)
    tl.store(drate + tl.program_id(0) * width + column, tl.sum(drate_RD, 0), mask=column < width)


def sphere_step(h_ND: Tensor, branch_ND: Tensor, rate_D: Tensor, floor: float) -> Tensor:
    """Norm(h + rate (Norm(branch) - h)), where Norm(x) is x / sqrt(|x|^2 + floor)."""
    rows, width = h_ND.shape
    y_ND = torch.empty_like(h_ND)
    meta = tile(width, STEP_VALUES)
    grid = (triton.cdiv(rows, meta["ROWS"]),)
    _sphere_step[grid](h_ND, branch_ND, rate_D, y_ND, rows, width, floor, **meta)
    return y_ND


def sphere_step_backward(
    dy_ND: Tensor, h_ND: Tensor, branch_ND: Tensor, rate_D: Tensor, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of h, branch and rate."""
    rows, width = h_ND.shape
    dh_ND, dbranch_ND = torch.empty_like(h_ND), torch.empty_like(branch_ND)
    meta = tile(width, STEP_VALUES)
    shares = min(triton.cdiv(rows, meta["ROWS"]), programs(h_ND))
    drate_PD = rate_D.new_empty(shares, width, dtype=torch.float32)
    _sphere_step_backward[(shares,)](
        dy_ND, h_ND, branch_ND, rate_D, dh_ND, dbranch_ND, drate_PD, rows, width, floor, **meta
    )
    return dh_ND, dbranch_ND, column_sums(drate_PD).to(rate_D.dtype)
