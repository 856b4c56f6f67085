"""Freed memory goes back to the system, where the C library would keep it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Have the system take what is free of the heap; takes some milliseconds.

    glibc gives back the end of the heap alone, and only when more is free there than it has once freed in a block. A run of weeks
    then holds more and more that is free, because now and then a number that stays comes to lie behind a hole.
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
