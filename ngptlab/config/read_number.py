"""A number that somebody typed. Exported models bring this file, so it imports the standard library alone."""

from __future__ import annotations

import re

NUMBER = re.compile(
    r"[-+]?(?:(?P<whole>0|[1-9][0-9]*(?:_[0-9]+)*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?", re.ASCII
)
"""600, 1_000, 1e3, 0.5, .5: no leading zero, because elsewhere it means an octal number; no hexadecimal, no 1:30, no yes."""
POWER = re.compile(
    r"(?P<base>[0-9]{1,9}(?:\.[0-9]{1,9})?)(?:\^|\*\*)\(?(?P<exponent>[-+]?[0-9]{1,4}(?:\.[0-9]{1,9})?)\)?",
    re.ASCII,
)
"""2^-9, 2**10, 2^-8.5: how learning rates and widths are spoken of."""
MAX_CHARACTERS = 100
"""Length of a number that is given as text."""
LARGEST = 2**53
"""The largest whole number. Other readers of our JSON round larger ones."""


def read_number(text: str) -> int | float:
    """The number that a text is, wherever one is typed: 600, 1_000, 1e3, 3e-4, 2^-9.

    Raises:
        ValueError: it is none.
    """
    text = text.strip()
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"a number of {len(text)} characters")
    if power := POWER.fullmatch(text):
        try:
            value = float(power["base"]) ** float(power["exponent"])
        except (OverflowError, ZeroDivisionError):
            raise ValueError("beyond all numbers") from None
        return int(value) if value == int(value) and value <= LARGEST else value
    found = NUMBER.fullmatch(text)
    if found is None:
        raise ValueError("no number in decimals")
    return int(text) if text.lstrip("+-") == found["whole"] else float(text)
