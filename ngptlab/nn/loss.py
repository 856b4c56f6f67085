"""Cross-entropy of next tokens, in nats, computed in float32 at least, from hidden states and the head's matrix.

Logits of all positions at once would be the largest tensor of a run by far: 824 MB for 4096 tokens of GPT-2's
vocabulary, several times over. Here they exist a few rows at a time, and the gradient is formed from them in place.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, library
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ngptlab.nn.fast.linear import in_parts, pad
from ngptlab.nn.fast.norms import wide
from ngptlab.nn.operators import operator
from ngptlab.nn.situations import has_kernel, is_stacked_on_cuda, plain_only

CHUNK_VALUES = {"cpu": 2**24, "cuda": 2**28}
"""Logits held at a time: 64 MB in float32, where more is no faster; a GPU needs larger products."""

TINY = 1e-30
"""Probability below which -log(p) is not computed from p, which float32 soon can't hold."""


class LogitsMap(Protocol):
    """What the method does to logits; where `scales_rows`, nothing that is not in the head's matrix already."""

    def __call__(self, z: Tensor) -> Tensor: ...

    @property
    def scales_rows(self) -> bool: ...


def token_losses(h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor, logits_map: LogitsMap) -> Tensor:
    """-log softmax(map(rows h))[target] of every position, [N], without a gradient."""
    size = _chunk(rows_VD)
    with torch.no_grad():
        chunks = zip(torch.split(h_ND, size), torch.split(targets_N, size), strict=True)
        return torch.cat([_cross_entropy(h, rows_VD, t, logits_map, "none") for h, t in chunks])


def token_scores(
    h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor, logits_map: LogitsMap
) -> tuple[Tensor, Tensor]:
    """`token_losses`, and whether each target is the most probable token (of equals, the first), [N] each."""
    size = max(1, min(_chunk(rows_VD), len(h_ND)))
    logits_CV = h_ND.new_empty(size, len(rows_VD))
    losses_N, greedy_N = wide(h_ND.new_empty(len(h_ND))), torch.empty_like(targets_N, dtype=torch.bool)
    with torch.no_grad():
        for first in range(0, len(h_ND), size):
            h_CD, targets_C = h_ND[first : first + size], targets_N[first : first + size]
            z_CV = logits_map(wide(torch.mm(h_CD, rows_VD.T, out=logits_CV[: len(h_CD)])))
            at_C1 = targets_C.unsqueeze(1)
            best_C = (z_CV.gather(1, at_C1) >= z_CV.amax(1, keepdim=True)).squeeze(1)
            # argmax takes five times as long as amax, and few rows are left to it.
            best_C[best_C.clone()] = z_CV[best_C].argmax(1) == targets_C[best_C]
            greedy_N[first : first + size] = best_C
            p_C = softmax_in_place(z_CV).gather(1, at_C1).squeeze(1)
            losses_N[first : first + size] = _minus_log(p_C, h_CD, rows_VD, targets_C, logits_map)
    return losses_N, greedy_N


def mean_loss(h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor, logits_map: LogitsMap) -> Tensor:
    """Mean over all positions, a scalar with a gradient.

    Shapes: h_ND hidden states, rows_VD the head's matrix in the same dtype, targets_N integers.
    """
    few = len(h_ND) <= _chunk(rows_VD)
    if not logits_map.scales_rows or plain_only() or (few and torch.compiler.is_compiling()):
        return _cross_entropy(h_ND, rows_VD, targets_N, logits_map, "mean")
    if not torch.is_grad_enabled():
        return token_losses(h_ND, rows_VD, targets_N, logits_map).mean()
    if torch.compiler.is_compiling():
        return _compiled_mean_loss(h_ND, rows_VD, targets_N)[0]  # type: ignore[no-any-return]
    return _MeanLoss.apply(h_ND, rows_VD, targets_N)  # type: ignore[no-any-return, no-untyped-call]


def _cross_entropy(
    h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor, logits_map: LogitsMap, reduction: str
) -> Tensor:
    if is_stacked_on_cuda(h_ND) and logits_map.scales_rows:
        z_NV = in_parts(h_ND, pad(rows_VD, 0))[:, : len(rows_VD)]
    else:  # a map may want to view logits in another shape, which what is cut off does not allow
        z_NV = h_ND @ rows_VD.T
    return F.cross_entropy(logits_map(wide(z_NV)), targets_N, reduction=reduction)


def _chunk(rows_VD: Tensor) -> int:
    return max(16, CHUNK_VALUES.get(rows_VD.device.type, 2**24) // len(rows_VD) // 64 * 64)


def _even_chunk(h_ND: Tensor, rows_VD: Tensor) -> int:
    """As few chunks as `_chunk` makes, and of nearly equal size: a small last one would cost a pass over the matrix."""
    parts = max(1, -(-len(h_ND) // _chunk(rows_VD)))
    return -(-len(h_ND) // parts // 64) * 64 if h_ND.is_cuda else min(_chunk(rows_VD), len(h_ND))


class _MeanLoss(Function):
    """The gradient of a mean loss needs nothing that comes later, so it is formed while the logits are there."""

    @staticmethod
    def forward(ctx: Any, h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor) -> Tensor:
        loss, *gradients = _loss_and_gradients(h_ND, rows_VD, targets_N)
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        return _scaled(grad, *ctx.saved_tensors)


@library.custom_op(operator(__name__, "mean_loss"), mutates_args=())
def _compiled_mean_loss(h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The loss and its gradients as one operator, because the compiler would unroll the loop and keep all logits."""
    return _loss_and_gradients(h_ND, rows_VD, targets_N)


@_compiled_mean_loss.register_fake
def _(h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    loss = h_ND.new_empty((), dtype=wide(h_ND[:0]).dtype)
    return loss, torch.empty_like(h_ND), torch.empty_like(rows_VD, dtype=loss.dtype)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output[1:])


@once_differentiable
def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None]:
    return _scaled(grad, *ctx.saved_tensors)


_compiled_mean_loss.register_autograd(_backward, setup_context=_save)


def _scaled(grad: Tensor, dh_ND: Tensor, drows_VD: Tensor) -> tuple[Tensor, Tensor, None]:
    each = grad / len(dh_ND)
    return dh_ND * each.to(dh_ND.dtype), (drows_VD * each).to(dh_ND.dtype), None


def _loss_and_gradients(h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean loss, and the gradients of the sum with respect to `h_ND` and, in float32 at least, `rows_VD`."""
    size = _even_chunk(h_ND, rows_VD)
    logits_CV = h_ND.new_empty(size, len(rows_VD))
    dh_ND, drows_VD = torch.empty_like(h_ND), torch.zeros_like(wide(rows_VD))
    losses = []
    for h_CD, targets_C, dh_CD in zip(
        torch.split(h_ND, size), torch.split(targets_N, size), torch.split(dh_ND, size), strict=True
    ):
        z_CV = torch.mm(h_CD, rows_VD.T, out=logits_CV[: len(h_CD)])
        if has_kernel(z_CV):
            from ngptlab.nn.fast.kernels.cross_entropy import cross_entropy_in_place

            losses_C, dz_CV = cross_entropy_in_place(z_CV, targets_C), z_CV
        else:
            at_C1 = targets_C.unsqueeze(1)
            p_CV = softmax_in_place(z_CV)
            losses_C = _minus_log(p_CV.gather(1, at_C1).squeeze(1), h_CD, rows_VD, targets_C)
            minus_one_C1 = p_CV.new_full((len(h_CD), 1), -1.0)
            dz_CV = p_CV.scatter_add_(1, at_C1, minus_one_C1).to(h_CD.dtype)
        losses.append(losses_C)
        torch.mm(dz_CV, rows_VD, out=dh_CD)
        _add_product(drows_VD, dz_CV.T, h_CD)
    return torch.cat(losses).mean(), dh_ND, drows_VD


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b. A float32 sum of bfloat16 products stays float32: it grows over many chunks."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    elif total.is_cuda:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)
    else:
        total.add_(a @ b)


def softmax_in_place(z_CV: Tensor) -> Tensor:
    """Softmax over the last axis, written over `z_CV` unless that is narrower than float32."""
    z_CV = wide(z_CV)
    return torch.softmax(z_CV, dim=-1, out=z_CV)


def _minus_log(
    p_C: Tensor, h_CD: Tensor, rows_VD: Tensor, targets_C: Tensor, logits_map: LogitsMap | None = None
) -> Tensor:
    """-log(p), from the logits again where p is too small to keep its digits."""
    losses_C = -p_C.log()
    rare_C = p_C < TINY
    if bool(rare_C.any()):
        z_RV = wide(h_CD[rare_C] @ rows_VD.T)
        z_RV = logits_map(z_RV) if logits_map else z_RV
        losses_C[rare_C] = F.cross_entropy(z_RV, targets_C[rare_C], reduction="none")
    return losses_C
