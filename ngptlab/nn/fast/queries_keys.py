"""nGPT's queries and keys: unit norm in each head, turned, times a trained scale."""

from __future__ import annotations

from typing import Any

from torch import Tensor, library

from ngptlab.nn.fast.call import has_kernel
from ngptlab.nn.operators import operator
from ngptlab.nn.precision import NORM_FLOOR
from ngptlab.nn.rope import Rope


def scaled_units_kernel(
    q_BTHK: Tensor, k_BTHK: Tensor, rope: Rope, s_HK: Tensor
) -> tuple[Tensor, Tensor] | None:
    """One pass forward and one backward; None where there is no kernel."""
    if not has_kernel(q_BTHK):
        return None
    cos_T1K, sin_T1K = (table_THK[:, :1] for table_THK in rope)
    return _in_a_kernel(q_BTHK, k_BTHK, cos_T1K, sin_T1K, s_HK)  # type: ignore[no-any-return]


@library.custom_op(operator(__name__, "scaled_units"), mutates_args=())
def _in_a_kernel(
    q_BTHK: Tensor, k_BTHK: Tensor, cos_T1K: Tensor, sin_T1K: Tensor, s_HK: Tensor
) -> tuple[Tensor, Tensor]:
    """One pass over both, and one for all gradients. The compiler would need another for the scale's gradient."""
    from ngptlab.nn.fast.kernels.queries_keys import queries_keys

    inputs = (x.contiguous() for x in (q_BTHK, k_BTHK, cos_T1K, sin_T1K, s_HK))
    return queries_keys(*inputs, floor=NORM_FLOOR**2)


@library.custom_op(operator(__name__, "scaled_units_backward"), mutates_args=())
def _in_a_kernel_backward(
    dy_q: Tensor, dy_k: Tensor, q_BTHK: Tensor, k_BTHK: Tensor, cos_T1K: Tensor, sin_T1K: Tensor, s_HK: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    from ngptlab.nn.fast.kernels.queries_keys import queries_keys_backward

    inputs = (x.contiguous() for x in (dy_q, dy_k, q_BTHK, k_BTHK, cos_T1K, sin_T1K, s_HK))
    return queries_keys_backward(*inputs, floor=NORM_FLOOR**2)


@_in_a_kernel.register_fake
def _(q_BTHK: Tensor, k_BTHK: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    return q_BTHK.new_empty(q_BTHK.shape), k_BTHK.new_empty(k_BTHK.shape)


@_in_a_kernel_backward.register_fake
def _(
    dy_q: Tensor, dy_k: Tensor, q_BTHK: Tensor, k_BTHK: Tensor, cos_T1K: Tensor, sin_T1K: Tensor, s_HK: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return q_BTHK.new_empty(q_BTHK.shape), k_BTHK.new_empty(k_BTHK.shape), s_HK.new_empty(s_HK.shape)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, dy_q: Tensor, dy_k: Tensor) -> tuple[Tensor | None, ...]:
    dq_BTHK, dk_BTHK, ds_HK = _in_a_kernel_backward(dy_q, dy_k, *ctx.saved_tensors)
    return dq_BTHK, dk_BTHK, None, None, ds_HK


_in_a_kernel.register_autograd(_backward, setup_context=_save)
