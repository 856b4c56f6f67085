"""The situation in which a function is called. `nn.forms` says which form is used in which situation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Literal

import torch
from torch import Tensor


class Situation(Enum):
    """The situation of a call, by its first tensor. On a CPU, wide means float32 or float64, and not under autocast."""

    CPU_EAGER = auto()
    """Wide on a CPU. Every elementwise operation is a pass over memory, and autograd makes more of them than it needs."""
    CPU_COMPILED = auto()
    """Wide on a CPU, compiled: the compiler joins elementwise operations, but not what libraries do."""
    CPU_STACKED = auto()
    """Wide on a CPU, many models under torch.func.vmap, which knows plain formulas and operators with a rule for it."""
    CUDA = auto()
    """On CUDA, compiled or not."""
    CUDA_STACKED = auto()
    """On CUDA, many models under torch.func.vmap."""
    SIZES = auto()
    """On torch's device without values, where only shapes and costs are of interest."""
    ELSEWHERE = auto()
    """Narrow or under autocast on a CPU, or on another device."""
    PLAIN = auto()
    """Inside `plain_formulas`, and for many models to which no situation above applies: no fast form at all."""


WIDE = (torch.float32, torch.float64)

# A plain global: the compiler can read one, and breaks its graph at a context variable.
_mode: Literal["any", "plain", "stacked"] = "any"


@contextmanager
def plain_formulas() -> Iterator[None]:
    """Inside, every function uses its plain formula."""
    with _only("plain"):
        yield


@contextmanager
def stacked_models() -> Iterator[None]:
    """Inside, torch.func.vmap runs one formula for many models."""
    with _only("stacked"):
        yield


@contextmanager
def _only(mode: Literal["plain", "stacked"]) -> Iterator[None]:
    global _mode
    before, _mode = _mode, mode
    try:
        yield
    finally:
        _mode = before


def is_stacked() -> bool:
    """Whether `stacked_models` is in force; a tensor's values can't be looked at then."""
    return _mode == "stacked"


def situation(x: Tensor) -> Situation:
    """The situation of a call whose first tensor is `x`."""
    if _mode == "plain":
        return Situation.PLAIN
    if x.is_meta:
        return Situation.SIZES
    if x.is_cuda:
        return Situation.CUDA_STACKED if is_stacked() else Situation.CUDA
    # Under autocast products are narrower than their factors, and derivatives by hand take tensors of one dtype.
    if x.device.type != "cpu" or x.dtype not in WIDE or torch.is_autocast_enabled("cpu"):
        return Situation.PLAIN if is_stacked() else Situation.ELSEWHERE
    if is_stacked():
        return Situation.CPU_STACKED
    return Situation.CPU_COMPILED if torch.compiler.is_compiling() else Situation.CPU_EAGER
