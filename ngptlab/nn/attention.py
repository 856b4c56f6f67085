"""Causal softmax attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ngptlab.nn.by_hand import by_hand

KEPT_SCORES = 2**24
"""Probabilities that a call may keep for its backward, half of B H T^2: 64 MB in float32."""


def causal_attention(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float) -> Tensor:
    """softmax(scale q k^T) v in each head over keys that are not later, [B, T, H, K]."""
    B, T, H, _ = q_BTHK.shape
    if by_hand(q_BTHK) and B * H * T * T // 2 <= KEPT_SCORES:
        return _CausalAttention.apply(q_BTHK, k_BTHK, v_BTHK, scale)  # type: ignore[no-any-return, no-untyped-call]
    q_BHTK, k_BHTK, v_BHTK = (x_BTHK.transpose(1, 2) for x_BTHK in (q_BTHK, k_BTHK, v_BTHK))
    o_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, is_causal=True, scale=scale)
    return o_BHTK.transpose(1, 2)


class _CausalAttention(Function):
    """A block of queries at a time against the keys up to its end, all heads in one batched product.

    Work above the diagonal is skipped but for half a block, and probabilities are kept, not computed again. In names: N =
    B H, C queries of a block, E keys up to its end.
    """

    @staticmethod
    def forward(ctx: Any, q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float) -> Tensor:
        q_NTK, k_NTK, v_NTK = _heads_first(q_BTHK) * scale, _heads_first(k_BTHK), _heads_first(v_BTHK)
        o_NTK, kept = torch.empty_like(v_NTK), []
        for start, end in _blocks(q_NTK):
            p_NCE = torch.bmm(q_NTK[:, start:end], k_NTK[:, :end].mT)
            later_CC = torch.ones(end - start, end - start, dtype=torch.bool).triu_(1)
            p_NCE[:, :, start:].masked_fill_(later_CC, -torch.inf)
            torch.softmax(p_NCE, dim=-1, out=p_NCE)
            o_NTK[:, start:end] = torch.bmm(p_NCE, v_NTK[:, :end])
            kept.append(p_NCE)
        ctx.save_for_backward(q_NTK, k_NTK, v_NTK, *kept)
        ctx.scale = scale
        return _heads_inside(o_NTK, q_BTHK)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, do_BTHK: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q_NTK, k_NTK, v_NTK, *kept = ctx.saved_tensors
        do_NTK = _heads_first(do_BTHK)
        dq_NTK, dk_NTK, dv_NTK = torch.empty_like(q_NTK), torch.zeros_like(k_NTK), torch.zeros_like(v_NTK)
        for (start, end), p_NCE in zip(_blocks(q_NTK), kept, strict=True):
            do_NCK = do_NTK[:, start:end]
            dv_NTK[:, :end].baddbmm_(p_NCE.mT, do_NCK)
            dp_NCE = torch.bmm(do_NCK, v_NTK[:, :end].mT)
            ds_NCE = torch.ops.aten._softmax_backward_data(dp_NCE, p_NCE, -1, p_NCE.dtype)
            dq_NTK[:, start:end] = torch.bmm(ds_NCE, k_NTK[:, :end])
            dk_NTK[:, :end].baddbmm_(ds_NCE.mT, q_NTK[:, start:end])
        grads = (dq_NTK.mul_(ctx.scale), dk_NTK, dv_NTK)
        dq_BTHK, dk_BTHK, dv_BTHK = (_heads_inside(grad_NTK, do_BTHK) for grad_NTK in grads)
        return dq_BTHK, dk_BTHK, dv_BTHK, None


def _blocks(q_NTK: Tensor) -> Iterator[tuple[int, int]]:
    T = q_NTK.shape[1]
    size = 64 if T <= 256 else 128
    return ((start, min(start + size, T)) for start in range(0, T, size))


def _heads_first(x_BTHK: Tensor) -> Tensor:
    return x_BTHK.transpose(1, 2).flatten(0, 1).contiguous()


def _heads_inside(x_NTK: Tensor, like_BTHK: Tensor) -> Tensor:
    B, T, H, K = like_BTHK.shape
    return x_NTK.view(B, H, T, K).transpose(1, 2).contiguous()
