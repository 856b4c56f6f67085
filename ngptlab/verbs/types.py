"""Types of options."""

from __future__ import annotations

import argparse
import math


def count(text: str) -> int:
    """A whole number from 1 on, as an option's type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"given {text!r}, give a whole number from 1 on")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0, as an option's type."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"given {text!r}, give a number above 0")
    return value
