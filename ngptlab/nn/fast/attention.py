"""Causal softmax attention: in blocks on a CPU, and for many models at once on CUDA."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, library

from ngptlab.nn.operators import operator

KEPT_SCORES = 2**24
"""Probabilities that a call may keep for its backward, half of B H T^2: 64 MB in float32."""


def attention_in_blocks(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float) -> Tensor | None:
    """Attention in causal blocks of queries; None where it would keep too many probabilities."""
    B, T, H, _ = q_BTHK.shape
    if B * H * T * T // 2 > KEPT_SCORES:
        return None
    return _in_blocks(q_BTHK, k_BTHK, v_BTHK, scale)[0]  # type: ignore[no-any-return]


# A block of queries at a time attends to the keys up to its end, all heads in one batched product. Work above the diagonal is
# skipped except for half a block, and probabilities are kept, not computed again. It takes 0.65 to 0.8 of the time of torch's
# fused kernel on a CPU. It is an operator of its own, because the compiler would unroll the loop.
# In names: N = B H, C queries of a block, E keys up to its end.


@library.custom_op(operator(__name__, "causal_attention"), mutates_args=())
def _in_blocks(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Attention's output, and for the backward scaled queries, keys, values and the probabilities of all blocks."""
    q_NTK, k_NTK, v_NTK = _heads_first(q_BTHK).mul_(scale), _heads_first(k_BTHK), _heads_first(v_BTHK)
    o_NTK, kept = torch.empty_like(v_NTK), q_NTK.new_empty(_kept_size(q_BTHK))
    for start, end, p_NCE in _blocks(q_NTK, kept):
        torch.bmm(q_NTK[:, start:end], k_NTK[:, :end].mT, out=p_NCE)
        later_CC = torch.ones(end - start, end - start, dtype=torch.bool).triu_(1)
        p_NCE[:, :, start:].masked_fill_(later_CC, -torch.inf)
        torch.softmax(p_NCE, dim=-1, out=p_NCE)
        o_NTK[:, start:end] = torch.bmm(p_NCE, v_NTK[:, :end])
    return _heads_inside(o_NTK, q_BTHK), q_NTK, k_NTK, v_NTK, kept


@library.custom_op(operator(__name__, "causal_attention_backward"), mutates_args=())
def _in_blocks_backward(
    do_BTHK: Tensor, q_NTK: Tensor, k_NTK: Tensor, v_NTK: Tensor, kept: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values, [B, T, H, K] each."""
    do_NTK = _heads_first(do_BTHK)
    dq_NTK, dk_NTK, dv_NTK = torch.empty_like(q_NTK), torch.zeros_like(k_NTK), torch.zeros_like(v_NTK)
    for start, end, p_NCE in _blocks(q_NTK, kept):
        do_NCK = do_NTK[:, start:end]
        # Not baddbmm_, which makes one product for each head where it writes into a slice.
        dv_NTK[:, :end].add_(torch.bmm(p_NCE.mT, do_NCK))
        dp_NCE = torch.bmm(do_NCK, v_NTK[:, :end].mT)
        ds_NCE = torch.ops.aten._softmax_backward_data(dp_NCE, p_NCE, -1, p_NCE.dtype)
        dq_NTK[:, start:end] = torch.bmm(ds_NCE, k_NTK[:, :end])
        dk_NTK[:, :end].add_(torch.bmm(ds_NCE.mT, q_NTK[:, start:end]))
    dq_BTHK, dk_BTHK, dv_BTHK = (_heads_inside(grad_NTK, do_BTHK) for grad_NTK in (dq_NTK, dk_NTK, dv_NTK))
    return dq_BTHK.mul_(scale), dk_BTHK, dv_BTHK


@_in_blocks.register_fake
def _(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    B, T, H, K = q_BTHK.shape
    q_NTK, k_NTK, v_NTK = (x.new_empty(B * H, T, K) for x in (q_BTHK, k_BTHK, v_BTHK))
    return q_BTHK.new_empty(B, T, H, K), q_NTK, k_NTK, v_NTK, q_BTHK.new_empty(_kept_size(q_BTHK))


@_in_blocks_backward.register_fake
def _(
    do_BTHK: Tensor, q_NTK: Tensor, k_NTK: Tensor, v_NTK: Tensor, kept: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        do_BTHK.new_empty(do_BTHK.shape),
        do_BTHK.new_empty(do_BTHK.shape),
        do_BTHK.new_empty(do_BTHK.shape),
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output[1:])
    ctx.scale = inputs[3]


def _backward(ctx: Any, do_BTHK: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    return *_in_blocks_backward(do_BTHK, *ctx.saved_tensors, ctx.scale), None


_in_blocks.register_autograd(_backward, setup_context=_save)


def _spans(T: int) -> list[tuple[int, int]]:
    size = 64 if T <= 256 else 128
    return [(start, min(start + size, T)) for start in range(0, T, size)]


def _kept_size(q_BTHK: Tensor) -> int:
    B, T, H, _ = q_BTHK.shape
    return B * H * sum((end - start) * end for start, end in _spans(T))


def _blocks(q_NTK: Tensor, kept: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Start and end of each block, and the place of its probabilities [N, C, E]."""
    N, T, _ = q_NTK.shape
    offset = 0
    for start, end in _spans(T):
        shape = N, end - start, end
        size = N * (end - start) * end
        yield start, end, kept[offset : offset + size].view(shape)
        offset += size


def _heads_first(x_BTHK: Tensor) -> Tensor:
    # Always a copy: an operator may not return what it was given.
    return x_BTHK.transpose(1, 2).clone(memory_format=torch.contiguous_format).flatten(0, 1)


def _heads_inside(x_NTK: Tensor, like_BTHK: Tensor) -> Tensor:
    B, T, H, K = like_BTHK.shape
    return x_NTK.view(B, H, T, K).transpose(1, 2).clone(memory_format=torch.contiguous_format)


def attention_by_scores(
    q_BTHK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, scale: float, window: int | None = None
) -> Tensor:
    """Attention to the past from products and a softmax, because torch's fused form with a mask has no rule for many models."""
    T, S = q_BTHK.shape[1], k_BHSK.shape[2]
    groups = q_BTHK.shape[2] // k_BHSK.shape[1]
    k_BHSK, v_BHSK = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (k_BHSK, v_BHSK))
    masked_TS = torch.ones(T, S, dtype=torch.bool, device=q_BTHK.device).triu(S - T + 1)
    if window is not None:
        masked_TS |= torch.ones_like(masked_TS).tril(S - T - window)
    scores_BHTS = (q_BTHK.transpose(1, 2) @ k_BHSK.transpose(-1, -2)) * scale
    p_BHTS = scores_BHTS.masked_fill(masked_TS, -torch.inf).softmax(-1)
    return (p_BHTS @ v_BHSK).transpose(1, 2)


# --- many models at once are more sequences in the batch --------------------------------------------------------------


def _as_sequences(models: int, axes: tuple[int | None, ...], *each: Tensor) -> Iterator[Tensor]:
    for x, axis in zip(each, axes, strict=True):
        yield (x.expand(models, *x.shape) if axis is None else x.movedim(axis, 0)).flatten(0, 1)


@_in_blocks.register_vmap
def _(
    info: Any, axes: tuple[int | None, ...], q: Tensor, k: Tensor, v: Tensor, scale: float
) -> tuple[tuple[Tensor, ...], tuple[int | None, ...]]:
    """Tensors kept for the backward stay flat, because only the backward reads them."""
    o, *kept = _in_blocks(*_as_sequences(info.batch_size, axes[:3], q, k, v), scale)
    return (o.unflatten(0, (info.batch_size, -1)), *kept), (0, None, None, None, None)


def attention_of_many(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float) -> Tensor:
    """torch's fused attention, with a rule for many models at once."""
    return _fused_of_many(q_BTHK, k_BTHK, v_BTHK, scale)  # type: ignore[no-any-return]


def _fused(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float) -> Tensor:
    # The plain formula, written out because a call of the plain function would look up its form again.
    q_BHTK, k_BHTK, v_BHTK = (x_BTHK.transpose(1, 2) for x_BTHK in (q_BTHK, k_BTHK, v_BTHK))
    o_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, is_causal=True, scale=scale)
    return o_BHTK.transpose(1, 2)


@library.custom_op(operator(__name__, "fused_of_many"), mutates_args=())
def _fused_of_many(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float) -> Tensor:
    """An operator for its rule under vmap, because torch's own for fused kernels fails on CUDA. No gradient outside vmap."""
    return _fused(q_BTHK, k_BTHK, v_BTHK, scale).contiguous()


@_fused_of_many.register_fake
def _(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float) -> Tensor:
    return q_BTHK.new_empty(q_BTHK.shape)


@_fused_of_many.register_vmap
def _(
    info: Any, axes: tuple[int | None, ...], q: Tensor, k: Tensor, v: Tensor, scale: float
) -> tuple[Tensor, int]:
    q, k, v = _as_sequences(info.batch_size, axes[:3], q, k, v)
    o = _fused(q, k, v, scale)
    return o.view(info.batch_size, -1, *o.shape[1:]), 0
