"""Which form of a function is used where: one table for all of `nn.functions`.

The plain formula is used where a situation is not in a function's row, and where a form gives None because it does not take
the inputs. Tests compare the forms with the plain formula.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from ngptlab.nn.fast.attention import attention_by_scores, attention_in_blocks, attention_of_many
from ngptlab.nn.fast.counted import attention_to_past_counted, causal_attention_counted
from ngptlab.nn.fast.gain import gain_by_hand
from ngptlab.nn.fast.linear import linear_in_parts, linear_narrow, linear_onednn
from ngptlab.nn.fast.mean_loss import mean_loss_in_chunks, mean_loss_in_parts
from ngptlab.nn.fast.norms import normed_by_hand
from ngptlab.nn.fast.queries_keys import scaled_units_kernel
from ngptlab.nn.fast.rotate import rotate_by_hand
from ngptlab.nn.fast.sphere import sphere_step_by_hand, sphere_step_kernel
from ngptlab.nn.fast.swiglu import swiglu_by_hand
from ngptlab.nn.situations import Situation, situation

Form = Callable[..., Any]
Plain = TypeVar("Plain", bound=Callable[..., Any])

CPU_EAGER, CPU_COMPILED, CPU_STACKED = Situation.CPU_EAGER, Situation.CPU_COMPILED, Situation.CPU_STACKED
CUDA, CUDA_STACKED = Situation.CUDA, Situation.CUDA_STACKED
ELSEWHERE, SIZES = Situation.ELSEWHERE, Situation.SIZES

FORMS: dict[str, dict[Situation, Form]] = {
    "normed": {CPU_EAGER: normed_by_hand},
    "gain": {CPU_EAGER: gain_by_hand},
    "swiglu": {CPU_EAGER: swiglu_by_hand},
    "rotate": {CPU_EAGER: rotate_by_hand},
    "sphere_step": {CPU_EAGER: sphere_step_by_hand, CUDA: sphere_step_kernel},
    "scaled_units": {CUDA: scaled_units_kernel},
    "linear": {
        CPU_EAGER: linear_onednn,
        CPU_COMPILED: linear_onednn,
        CUDA: linear_narrow,
        CUDA_STACKED: linear_in_parts,
    },
    "causal_attention": {
        CPU_EAGER: attention_in_blocks,
        CPU_COMPILED: attention_in_blocks,
        CPU_STACKED: attention_in_blocks,
        CUDA_STACKED: attention_of_many,
        SIZES: causal_attention_counted,
    },
    "attention_to_past": {
        CPU_STACKED: attention_by_scores,
        CUDA_STACKED: attention_by_scores,
        SIZES: attention_to_past_counted,
    },
    "mean_loss": {
        CPU_EAGER: mean_loss_in_chunks,
        CPU_COMPILED: mean_loss_in_chunks,
        CUDA: mean_loss_in_chunks,
        CUDA_STACKED: mean_loss_in_parts,
        ELSEWHERE: mean_loss_in_chunks,
    },
}


def fastest(plain: Plain) -> Plain:
    """A function that uses the table's form for the situation of a call or, where there is none, this plain formula."""
    forms = FORMS[plain.__name__]

    @wraps(plain)
    def function(*inputs: Any) -> Any:
        form = forms.get(situation(inputs[0]))
        result = None if form is None else form(*inputs)
        return plain(*inputs) if result is None else result

    return function  # type: ignore[return-value]
