"""What counts as a number in a config, the same in a file, on a command line and from Python. Imports no torch."""

from __future__ import annotations

import math
from typing import Any, get_args

from pydantic_core import PydanticCustomError

from ngptlab.config.read_number import LARGEST, POWER, read_number

SMALLEST_FLOAT32, LARGEST_FLOAT32 = 2.0**-126, (2 - 2.0**-23) * 2.0**127
"""The smallest normal and the largest value of float32, in which models are trained. Smaller becomes 0, larger infinity."""


def number_kind(annotation: Any) -> type[int] | type[float] | None:
    """Whether a field of this type, or of a tuple or a union of it, takes whole numbers, real ones or neither."""
    if annotation in (int, float):
        return annotation  # type: ignore[no-any-return]
    return next((kind for part in get_args(annotation) if (kind := number_kind(part))), None)


def plain_number(value: Any, kind: type[int] | type[float], *, bounded: bool = False) -> Any:
    """The value given for a field of numbers, or of tuples of them; unchanged where pydantic's own types can check it.

    `bounded`: the field has an upper bound of its own, which the error's message is to name.

    Raises:
        PydanticCustomError: it is true or false, a text that is no number, or too large or small for training.
    """
    if isinstance(value, list | tuple):
        return tuple(plain_number(item, kind, bounded=bounded) for item in value)
    if isinstance(value, bool):
        raise _refused("input should be a number, not true or false")
    number = _read(value) if isinstance(value, str) else value
    if isinstance(value, str) and POWER.fullmatch(value.strip()):
        value = number  # which pydantic does not know
    if not isinstance(number, int | float) or not math.isfinite(number):
        return number
    if kind is int:
        if abs(number) > LARGEST and not bounded:
            raise _refused("input should be at most 2**53")
        # pydantic takes the text 1000 for a whole number, but not 1e3.
        return int(number) if isinstance(number, float) and number == int(number) else value
    _check_float32(number)
    return value if number else 0.0  # 0 and -0.0 would have hashes of their own


def _read(text: str) -> int | float:
    try:
        return read_number(text)
    except ValueError:
        raise _refused("input should be a number in decimals, as 600, 0.5, 1e-3 or 2^-9") from None


def _check_float32(value: float) -> None:
    if value and abs(value) < SMALLEST_FLOAT32:
        raise _refused(f"in float32 that is 0, whose smallest normal number is {SMALLEST_FLOAT32:.4g}")
    if abs(value) > LARGEST_FLOAT32:
        raise _refused(f"in float32 that is infinite, whose largest number is {LARGEST_FLOAT32:.4g}")


def _refused(message: str) -> PydanticCustomError:
    return PydanticCustomError("number", message)
