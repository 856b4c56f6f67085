"""Attention of tensors that have sizes but no values: its operations are counted, and nothing is computed.

A count of matrix products alone would count whole squares of scores, of which causal attention and windows need a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

_needed: list[float] = []


@contextmanager
def attention_counted() -> Iterator[list[float]]:
    """Counts the operations of every attention of tensors without values. The list has them after the block."""
    _needed.clear()
    operations: list[float] = []
    try:
        yield operations
    finally:
        operations.extend(_needed)
        _needed.clear()


def causal_attention_counted(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float) -> Tensor:
    """Counts half of all pairs, as ngptlab/flops.py does."""
    return _counted(q_BTHK, v_BTHK.shape[-1], q_BTHK.shape[1] ** 2 / 2)


def attention_to_past_counted(
    q_BTHK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, scale: float, window: int | None = None
) -> Tensor:
    """Counts pairs of queries at the last T of S positions; with a window, the pairs in it alone."""
    T, S = q_BTHK.shape[1], k_BHSK.shape[2]
    reach = min(window or S, S)
    # Of queries at t = S - T to S, those before `reach` attend to t keys, the others to `reach`.
    growing = max(0, reach - (S - T))
    return _counted(q_BTHK, v_BHSK.shape[-1], T * reach - growing**2 / 2)


def _counted(q_BTHK: Tensor, width: int, pairs: float) -> Tensor:
    B, _, H, K = q_BTHK.shape
    _needed.append(2 * B * H * pairs * (K + width))
    return q_BTHK.new_empty(*q_BTHK.shape[:-1], width)
