"""Triton kernels for CUDA: what the compiler makes of the same formulas moves several times the bytes.

Each has its plain formula elsewhere in this package, and tests that hold one against the other. A row is what one program
works on at a time; arithmetic is in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl

    jit: Any = triton.jit
except ImportError:  # torch was built without CUDA, and nothing here will be called
    jit = lambda function: function  # noqa: E731

# The fastest of a small grid on an H200 at width 768 and 50,304 tokens of vocabulary in bfloat16 (docs/log.md, 2026-11-27).
PROGRAMS_PER_PROCESSOR = 8
"""Of a kernel that sums over rows: each adds up its own share, then the shares are added."""
STEP_VALUES = 32
"""Of a row, in one thread of a sphere step or of its backward."""
LOGITS_BLOCK = 4096
"""Of a row of logits, read at a time."""
LOGITS_VALUES = 8
"""Of those, in one thread."""


@jit
def _sphere_step(h, branch, rate, y, width, floor, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * width
    column = tl.arange(0, BLOCK)
    inside = column < width
    h_D = tl.load(h + row + column, mask=inside, other=0.0).to(tl.float32)
    b_D = tl.load(branch + row + column, mask=inside, other=0.0).to(tl.float32)
    rate_D = tl.load(rate + column, mask=inside, other=0.0)
    u_D = b_D * tl.rsqrt(tl.sum(b_D * b_D) + floor)
    t_D = h_D + rate_D * (u_D - h_D)
    y_D = t_D * tl.rsqrt(tl.sum(t_D * t_D) + floor)
    tl.store(y + row + column, y_D.to(y.dtype.element_ty), mask=inside)


@jit
def _sphere_step_backward(dy, h, branch, rate, dh, dbranch, drate, rows, width, floor, BLOCK: tl.constexpr):
    # In names: u branch / |branch|, t lerp(h, u, rate), y t / |t|; d... its gradient.
    column = tl.arange(0, BLOCK)
    inside = column < width
    rate_D = tl.load(rate + column, mask=inside, other=0.0)
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
    warps = _warps(block, STEP_VALUES)
    _sphere_step[(rows,)](h_ND, branch_ND, rate_D, y_ND, width, floor, BLOCK=block, num_warps=warps)
    return y_ND


def sphere_step_backward(
    dy_ND: Tensor, h_ND: Tensor, branch_ND: Tensor, rate_D: Tensor, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of h, branch and rate."""
    rows, width = h_ND.shape
    dh_ND, dbranch_ND = torch.empty_like(h_ND), torch.empty_like(branch_ND)
    programs = min(rows, PROGRAMS_PER_PROCESSOR * _processors(h_ND))
    drate_PD = rate_D.new_empty(programs, width)
    block = triton.next_power_of_2(width)
    _sphere_step_backward[(programs,)](
        dy_ND, h_ND, branch_ND, rate_D, dh_ND, dbranch_ND, drate_PD, rows, width, floor,
        BLOCK=block, num_warps=_warps(block, STEP_VALUES),
    )  # fmt: skip
    return dh_ND, dbranch_ND, column_sums(drate_PD)


@jit
def _column_sums(x, sums, rows, width, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = tl.arange(0, ROWS)
    sums_RD = tl.zeros((ROWS, BLOCK), tl.float32)
    for first in range(0, rows, ROWS):
        there = ((first + row) < rows)[:, None] & (column < width)[None, :]
        sums_RD += tl.load(x + (first + row)[:, None] * width + column[None, :], mask=there, other=0.0)
    tl.store(sums + column, tl.sum(sums_RD, 0), mask=column < width)


def column_sums(x_ND: Tensor) -> Tensor:
    """Sums over rows, [D], of a float32 matrix that is higher than wide: on an H200 a quarter of the time of torch's own."""
    rows, width = x_ND.shape
    sums_D = x_ND.new_empty(width)
    _column_sums[(triton.cdiv(width, 16),)](x_ND, sums_D, rows, width, ROWS=128, BLOCK=16, num_warps=8)
    return sums_D


@jit
def _cross_entropy(z, targets, losses, vocab, stride, BLOCK: tl.constexpr):
    number = tl.program_id(0)
    row = z + number.to(tl.int64) * stride
    lane = tl.arange(0, BLOCK)
    # Each lane keeps the largest of its logits and the sum of exp(logit - largest): one exponential a logit.
    most_B = tl.full((BLOCK,), float("-inf"), tl.float32)
    sum_B = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, vocab, BLOCK):
        column = first + lane
        z_B = tl.load(row + column, mask=column < vocab, other=float("-inf")).to(tl.float32)
        more_B = z_B > most_B
        small_B = tl.where(z_B == most_B, 1.0, tl.exp(-tl.abs(z_B - most_B)))
        small_B = tl.where(column < vocab, small_B, 0.0)
        sum_B = tl.where(more_B, sum_B * small_B + 1.0, sum_B + small_B)
        most_B = tl.where(more_B, z_B, most_B)
    most = tl.max(most_B)
    lse = most + tl.log(tl.sum(sum_B * tl.exp(most_B - most)))
    target = tl.load(targets + number)
    there = (target >= 0) & (target < vocab)  # or the loss is not a number, and whoever trains on it stops
    tl.store(losses + number, lse - tl.load(row + target, mask=there, other=float("nan")).to(tl.float32))
    tl.debug_barrier()  # the target's logit is read before its gradient is written over it
    for first in range(0, vocab, BLOCK):
        column = first + lane
        z_B = tl.load(row + column, mask=column < vocab, other=float("-inf")).to(tl.float32)
        dz_B = tl.exp(z_B - lse) - tl.where(column == target, 1.0, 0.0)
        tl.store(row + column, dz_B.to(z.dtype.element_ty), mask=column < vocab)


def cross_entropy_in_place(z_CV: Tensor, targets_C: Tensor) -> Tensor:
    """-log softmax(z)[target] of every row, [C], in float32, NaN where there is no such target.

    `z` becomes the gradient of their sum.
    """
    rows, vocab = z_CV.shape
    losses_C = z_CV.new_empty(rows, dtype=torch.float32)
    block = min(LOGITS_BLOCK, triton.next_power_of_2(vocab))
    warps = _warps(block, LOGITS_VALUES)
    _cross_entropy[(rows,)](z_CV, targets_C, losses_C, vocab, z_CV.stride(0), BLOCK=block, num_warps=warps)
    return losses_C


def _warps(block: int, values: int) -> int:
    """So many that a thread has this many values; 8 of bfloat16 are 16 bytes, the widest load there is."""
    return max(1, min(16, block // (32 * values)))


def _processors(x: Tensor) -> int:
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 1
