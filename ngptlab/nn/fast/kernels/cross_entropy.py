"""Cross-entropy and its gradient; the plain formula is in `nn.functions`."""

from __future__ import annotations

import torch
from torch import Tensor

from ngptlab.nn.fast.kernels.launch import jit, tl, triton, warps

LOGITS_BLOCK = 4096
"""Logits of a row that are read at a time."""
LOGITS_VALUES = 8
"""Logits of these in one thread."""


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
    there = (target >= 0) & (target < vocab)  # else the loss is NaN, so that training stops
    tl.store(losses + number, lse - tl.load(row + target, mask=there, other=float("nan")).to(tl.float32))
    tl.debug_barrier()  # the target's logit is read before its gradient is written over it
    for first in range(0, vocab, BLOCK):
        column = first + lane
        z_B = tl.load(row + column, mask=column < vocab, other=float("-inf")).to(tl.float32)
        dz_B = tl.exp(z_B - lse) - tl.where(column == target, 1.0, 0.0)
        tl.store(row + column, dz_B.to(z.dtype.element_ty), mask=column < vocab)


def cross_entropy_in_place(z_CV: Tensor, targets_C: Tensor) -> Tensor:
    """-log softmax(z)[target] of every row, [C], in float32, NaN where there is no such target.

    `z` is overwritten with the gradient of their sum.
    """
    rows, vocab = z_CV.shape
    losses_C = z_CV.new_empty(rows, dtype=torch.float32)
    block = min(LOGITS_BLOCK, triton.next_power_of_2(vocab))
    _cross_entropy[(rows,)](
        z_CV, targets_C, losses_C, vocab, z_CV.stride(0), BLOCK=block, num_warps=warps(block, LOGITS_VALUES)
    )
    return losses_C
