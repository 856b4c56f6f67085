"""The value of a JSON text, which may be anybody's. Imports nothing of ours."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

MAX_DEPTH = 100
"""Levels of lists and objects in each other. Ours have ten. Python reads some hundred more than it can write again."""
TOO_DEEP = "lists or objects are nested too deeply"
MAX_DIGITS = 100
"""Of a whole number in JSON. Ours have 20 at most; Python itself refuses to read, or to print, some thousands."""


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Unlike `json.loads`: finite numbers only, no key twice in an object, one kind of error.

    A byte order mark before it, as some editors put there, is passed over.

    Raises:
        ValueError: it is not that, or nested too deeply; UnicodeDecodeError is one, too.
    """
    text = (text.decode("utf-8") if isinstance(text, bytes) else text).removeprefix("\ufeff")
    try:
        value = DECODER.decode(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_too_deep(value):
        raise ValueError(TOO_DEEP)
    return value


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large a number")
    return number


def _unique_keys(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key[:40]!r} twice in one object")
        found[key] = value
    return found


DECODER = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole, object_pairs_hook=_unique_keys
)
"""Made once, because a run has thousands of lines."""
