"""The mean loss a few rows of logits at a time, with a gradient that is formed from them in place."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, library
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ngptlab.nn.fast.call import has_kernel
from ngptlab.nn.fast.linear import in_parts
from ngptlab.nn.loss import LogitsMap, chunk, minus_log, softmax_in_place, token_losses
from ngptlab.nn.matrices import pad
from ngptlab.nn.operators import operator
from ngptlab.nn.precision import wide


def mean_loss_in_chunks(
    h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor, logits_map: LogitsMap
) -> Tensor | None:
    """Without all logits at once; None where a map is no scaling of rows or, compiled, where one chunk holds all logits."""
    compiling = torch.compiler.is_compiling()
    if not logits_map.scales_rows or (compiling and len(h_ND) <= chunk(rows_VD)):
        return None
    if not torch.is_grad_enabled():
        return token_losses(h_ND, rows_VD, targets_N, logits_map).mean()
    if compiling:
        return _compiled_mean_loss(h_ND, rows_VD, targets_N)[0]  # type: ignore[no-any-return]
    return _MeanLoss.apply(h_ND, rows_VD, targets_N)  # type: ignore[no-any-return, no-untyped-call]


def mean_loss_in_parts(
    h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor, logits_map: LogitsMap
) -> Tensor | None:
    """By parts of the rows, for many models at once; None where a map is no scaling of rows.

    Such a map may view logits in another shape, which a slice of the padded logits does not allow.
    """
    if not logits_map.scales_rows:
        return None
    z_NV = in_parts(h_ND, pad(rows_VD, 0))[:, : len(rows_VD)]
    return F.cross_entropy(logits_map(wide(z_NV)), targets_N)


def _even_chunk(h_ND: Tensor, rows_VD: Tensor) -> int:
    """Rows of a chunk. Chunks are as few as `chunk` makes, and nearly equal: a small last one costs a pass over the matrix."""
    parts = max(1, -(-len(h_ND) // chunk(rows_VD)))
    return -(-len(h_ND) // parts // 64) * 64 if h_ND.is_cuda else min(chunk(rows_VD), len(h_ND))


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
        if z_CV.is_cuda and has_kernel(z_CV):
            from ngptlab.nn.fast.kernels.cross_entropy import cross_entropy_in_place

            losses_C, dz_CV = cross_entropy_in_place(z_CV, targets_C), z_CV
        else:
            at_C1 = targets_C.unsqueeze(1)
            p_CV = softmax_in_place(z_CV)
            losses_C = minus_log(p_CV.gather(1, at_C1).squeeze(1), h_CD, rows_VD, targets_C)
            minus_one_C1 = p_CV.new_full((len(h_CD), 1), -1.0)
            dz_CV = p_CV.scatter_add_(1, at_C1, minus_one_C1).to(h_CD.dtype)
        losses.append(losses_C)
        torch.mm(dz_CV, rows_VD, out=dh_CD)
        _add_product(drows_VD, dz_CV.T, h_CD)
    return torch.cat(losses).mean(), dh_ND, drows_VD


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b. A float32 sum of bfloat16 products stays float32, because it grows over many chunks."""
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    elif total.is_cuda:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)
    else:
        total.add_(a @ b)
