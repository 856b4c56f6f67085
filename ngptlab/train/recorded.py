"""A function's kernels on CUDA as one launch, a CUDA graph: the same kernels on the same addresses, so the same numbers.

A step of a small model, or on a machine whose processor is slow or shared, is a thousand launches that the GPU waits for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ngptlab.errors import ConfigError

CALLS_BEFORE = 2
"""Calls before a recording is made. They compile, tune and make workspaces, which a recording must not hold. With micro-batches
one of them sets gradients and one adds to them."""


class Recorded:
    """One call, recorded; what it reads and writes stays where it is."""

    def __init__(
        self, compute: Callable[..., Tensor], inputs: Sequence[Tensor], shares_with: Recorded | None = None
    ) -> None:
        """Record a call of `compute`, which computes nothing yet.

        `shares_with` is a recording that is never replayed at the same time as this one. Both use the same memory for values
        that neither keeps.

        Raises:
            ConfigError: there is no graph of this; torch has no random numbers on the device any more.
            OutOfMemoryError: torch's own.
        """
        self._inputs = [x.clone() for x in inputs]
        self._graph = torch.cuda.CUDAGraph()
        pool = shares_with._graph.pool() if shares_with else None
        try:
            # Other threads may allocate meanwhile; that is no part of the recording.
            with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
                self._result = compute(*self._inputs)
        except RuntimeError as error:
            cause = _first(error)
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            raise _no_graph(cause) from error

    def replay(self, *inputs: Tensor) -> Tensor:
        """The call's result for other inputs of the same shapes, on any device."""
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._result.clone()


def _first(error: BaseException) -> BaseException:
    """The error that came first. A later one says only that the recording can't be ended, not why."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _no_graph(cause: BaseException) -> ConfigError:
    line = (str(cause).strip() or type(cause).__name__).splitlines()[0]
    return ConfigError(
        f"no CUDA graph can be made of this step ({line}). Often something in it waits for the GPU or copies to it, such as "
        ".item(), .tolist(), or torch.tensor of numbers: compute it on the device, or give --device.graphs off"
    )
