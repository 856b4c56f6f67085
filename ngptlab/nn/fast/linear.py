"""Products with matrices: by another library, with a wider gradient, or by parts of the rows."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, library
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ngptlab.nn.fast.call import call
from ngptlab.nn.operators import operator

HAS_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]

SMALL = 2**20
"""Multiplications below which a product takes less time than oneDNN's start, for example of one token in a small model."""


def linear_onednn(x: Tensor, weight: Tensor) -> Tensor | None:
    """Through oneDNN in float32; None in float64, without oneDNN, and for a small product without a gradient."""
    small = not torch.is_grad_enabled() and x.numel() * len(weight) < SMALL
    if x.dtype != torch.float32 or not HAS_ONEDNN or small:
        return None
    return _by_rows(_Linear, x, weight.to(x.dtype))


def linear_narrow(x: Tensor, weight: Tensor) -> Tensor | None:
    """A bfloat16 product whose weight's gradient is not rounded; None for other dtypes."""
    if (x.dtype, weight.dtype) != (torch.bfloat16, torch.float32):
        return None
    return _by_rows(_NarrowLinear, x, weight)


def linear_in_parts(x: Tensor, weight: Tensor) -> Tensor:
    """By parts of the rows, for many models at once."""
    return in_parts(x.flatten(0, -2), weight).view(*x.shape[:-1], len(weight))


def _by_rows(function: type[Function], x: Tensor, weight: Tensor) -> Tensor:
    return call(function, x.flatten(0, -2), weight).view(*x.shape[:-1], len(weight))


LONG = 256
"""Fewest rows of a part."""


def in_parts(x_NI: Tensor, weight_OI: Tensor) -> Tensor:
    """x W^T for many rows of x and a small W, by parts of the rows, each with a copy of W.

    The gradient of W, a sum over rows, is then a product for each part and a short sum, in the dtype of W. A single product
    would keep only as many processors busy as W has tiles, and no library divides the sum in batched products of stacked models.
    """
    parts = _parts(len(x_NI), *weight_OI.shape)
    weight_SOI = weight_OI.expand(parts, *weight_OI.shape).to(x_NI.dtype)
    return torch.bmm(x_NI.view(parts, -1, x_NI.shape[-1]), weight_SOI.mT).flatten(0, 1)


def _parts(rows: int, outputs: int, inputs: int) -> int:
    """Number of parts, a power of two that divides `rows`. Gradients of several are at most an eighth of their factors' size."""
    parts, most = 1, rows * (outputs + inputs) // (8 * outputs * inputs)
    while rows % (2 * parts) == 0 and rows // (2 * parts) >= LONG and 2 * parts <= most:
        parts *= 2
    return parts


class _Linear(Function):
    """Through oneDNN, which torch itself uses in float32 only where it compiles: 10 to 15% faster than MKL on AMD."""

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, weight_OI: Tensor) -> Tensor:
        ctx.save_for_backward(x_NI, weight_OI)
        return _product(x_NI, weight_OI)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NO: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x_NI, weight_OI = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad
        # The last product sums over all tokens, where MKL is the faster one.
        return (
            _product(grad_NO, weight_OI.T) if need_x else None,
            grad_NO.T @ x_NI if need_weight else None,
        )


class _NarrowLinear(Function):
    """The product for the weight's gradient gives float32, the dtype of its sum, so it is not rounded and not copied later."""

    @staticmethod
    def forward(ctx: Any, x_NI: Tensor, weight_OI: Tensor) -> Tensor:
        narrow_OI = weight_OI.to(x_NI.dtype)
        ctx.save_for_backward(x_NI, narrow_OI)
        return F.linear(x_NI, narrow_OI)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_NO: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x_NI, narrow_OI = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad
        sum_over_tokens = _opaque_wide_product if torch.compiler.is_compiling() else _wide_product
        return (
            grad_NO @ narrow_OI if need_x else None,
            sum_over_tokens(grad_NO, x_NI) if need_weight else None,
        )


def _wide_product(grad_NO: Tensor, x_NI: Tensor) -> Tensor:
    """grad^T x, in float32."""
    if grad_NO.is_cuda:
        return torch.mm(grad_NO.T, x_NI, out_dtype=torch.float32)
    return grad_NO.T.float() @ x_NI.float()


_opaque_wide_product = library.custom_op(operator(__name__, "wide_product"), _wide_product, mutates_args=())


@_opaque_wide_product.register_fake
def _(grad_NO: Tensor, x_NI: Tensor) -> Tensor:
    return grad_NO.new_empty(grad_NO.shape[1], x_NI.shape[1], dtype=torch.float32)


def _product(x_NI: Tensor, weight_OI: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        return _opaque_product(x_NI, weight_OI)  # type: ignore[no-any-return]
    return torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, None, "none", [], "")  # type: ignore[no-any-return]


@library.custom_op(operator(__name__, "product"), mutates_args=())
def _opaque_product(x_NI: Tensor, weight_OI: Tensor) -> Tensor:
    # The compiler takes the operator below for its own and then insists on constant weights.
    return torch.ops.mkldnn._linear_pointwise(x_NI, weight_OI, None, "none", [], "")  # type: ignore[no-any-return]


@_opaque_product.register_fake
def _(x_NI: Tensor, weight_OI: Tensor) -> Tensor:
    return x_NI.new_empty(len(x_NI), len(weight_OI))
