"""Attention of tensors that have sizes but no values: the operations that it needs are counted, and nothing is computed.

A count of matrix products alone would see whole squares of scores, where causal attention and windows need a part of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

_needed: list[float] = []


@contextmanager
def attention_counted() -> Iterator[list[float]]:
    """Inside, operations of every attention without values are added to the list."""
    _needed.clear()
    found: list[float] = []
    try:
        yield found
    finally:
        found.extend(_needed)
        _needed.clear()


def causal_attention_counted(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float) -> Tensor:
    """Counts half of all pairs, as ngptlab/flops.py does."""
    return _counted(q_BTHK, v_BTHK.shape[-1], q_BTHK.shape[1] ** 2 / 2)


def attention_to_past_counted(
    q_BTHK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, scale: float, window: int | None = None
) -> Tensor:
    """The same where queries stand at the last T of S positions; with a window, the pairs in it alone."""
    T, S = q_BTHK.shape[1], k_BHSK.shape[2]
    reach = min(window or S, S)
    # Of queries at t = S - T to S, those before `reach` meet t keys, the others `reach`.
    growing = max(0, reach - (S - T))
    return _counted(q_BTHK, v_BHSK.shape[-1], T * reach - growing**2 / 2)


def _counted(q_BTHK: Tensor, width: int, pairs: float) -> Tensor:
    B, _, H, K = q_BTHK.shape
    _needed.append(2 * B * H * pairs * (K + width))
    return q_BTHK.new_empty(*q_BTHK.shape[:-1], width)
