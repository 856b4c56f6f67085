"""A step on the sphere; its plain formula is in `nn.sphere`."""

from __future__ import annotations

import torch
from torch import Tensor

from ngptlab.nn.kernels.launch import column_sums, jit, programs, tl, triton, warps

STEP_VALUES = 32
"""Of a row, in one thread of a sphere step or of its backward."""


@jit
def _sphere_step(h, branch, rate, y, width, floor, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * width
    column = tl.arange(0, BLOCK)
    inside = column < width
    h_D = tl.load(h + row + column, mask=inside, other=0.0).to(tl.float32)
    b_D = tl.load(branch + row + column, mask=inside, other=0.0).to(tl.float32)
    rate_D = tl.load(rate + column, mask=inside, other=0.0).to(tl.float32)
    u_D = b_D * tl.rsqrt(tl.sum(b_D * b_D) + floor)
    t_D = h_D + rate_D * (u_D - h_D)
    y_D = t_D * tl.rsqrt(tl.sum(t_D * t_D) + floor)
    tl.store(y + row + column, y_D.to(y.dtype.element_ty), mask=inside)


@jit
def _sphere_step_backward(dy, h, branch, rate, dh, dbranch, drate, rows, width, floor, BLOCK: tl.constexpr):
    # In names: u branch / |branch|, t lerp(h, u, rate), y t / |t|; d... its gradient.
    column = tl.arange(0, BLOCK)
    inside = column < width
    rate_D = tl.load(rate + column, mask=inside, other=0.0).to(tl.float32)
    drate_D = tl.zeros((BLOCK,), tl.float32)
    for turn in range(0, tl.cdiv(rows, tl.num_programs(0))):
        number = tl.program_id(0) + turn * tl.num_programs(0)
        row, there = number.to(tl.int64) * width, inside & (number < rows)
        dy_D = tl.load(dy + row + column, mask=there, other=0.0).to(tl.float32)
        h_D = tl.load(h + row + column, mask=there, other=0.0).to(tl.float32)
        b_D = tl.load(branch + row + column, mask=there, other=0.0).to(tl.float32)
        per_b = tl.rsqrt(tl.sum(b_D * b_D) + floor)
        u_D = b_D * per_b
        t_D = h_D + rate_D * (u_D - h_D)
        per_t = tl.rsqrt(tl.sum(t_D * t_D) + floor)
        y_D = t_D * per_t
        dt_D = per_t * (dy_D - y_D * tl.sum(y_D * dy_D))
        du_D = rate_D * dt_D
        db_D = per_b * (du_D - u_D * tl.sum(u_D * du_D))
        drate_D += dt_D * (u_D - h_D)
        tl.store(dh + row + column, (dt_D - du_D).to(dh.dtype.element_ty), mask=there)
        tl.store(dbranch + row + column, db_D.to(dbranch.dtype.element_ty), mask=there)
    tl.store(drate + tl.program_id(0) * width + column, drate_D, mask=inside)


def sphere_step(h_ND: Tensor, branch_ND: Tensor, rate_D: Tensor, floor: float) -> Tensor:
    """Norm(h + rate (Norm(branch) - h)), where Norm(x) is x / sqrt(|x|^2 + floor)."""
    rows, width = h_ND.shape
    y_ND = torch.empty_like(h_ND)
    block = triton.next_power_of_2(width)
    _sphere_step[(rows,)](
        h_ND, branch_ND, rate_D, y_ND, width, floor, BLOCK=block, num_warps=warps(block, STEP_VALUES)
    )
    return y_ND


def sphere_step_backward(
    dy_ND: Tensor, h_ND: Tensor, branch_ND: Tensor, rate_D: Tensor, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of h, branch and rate."""
    rows, width = h_ND.shape
    dh_ND, dbranch_ND = torch.empty_like(h_ND), torch.empty_like(branch_ND)
    drate_PD = rate_D.new_empty(min(rows, programs(h_ND)), width, dtype=torch.float32)
    block = triton.next_power_of_2(width)
    _sphere_step_backward[(len(drate_PD),)](
        dy_ND, h_ND, branch_ND, rate_D, dh_ND, dbranch_ND, drate_PD, rows, width, floor,
        BLOCK=block, num_warps=warps(block, STEP_VALUES),
    )  # fmt: skip
    return dh_ND, dbranch_ND, column_sums(drate_PD).to(rate_D.dtype)
