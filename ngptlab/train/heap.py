"""Freed memory goes back to the system, where the C library would keep it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Have the system take what is free of the heap. With 200 MB of activations it takes some 100 ms, page faults included.

    Between two steps it would be wrong to: a run keeps freed memory so that no step has to fault it in again
    (`device.keep_freed_memory`). But what is kept grows, because now and then something that stays comes to lie behind a hole.
    A soak saw 25 MB an hour, while what was in use stayed the same. So it is for now and then.
    """
    if trim := _trim():
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    # Another C library has no such function, and another system no such library.
    except (AttributeError, OSError, TypeError):
        return None
    return found
