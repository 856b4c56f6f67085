"""Learning rates as people write them: 2^-9, 2**-9, 0.002, 2e-3."""

from __future__ import annotations

import math

from ngptlab.config.read_number import read_number
from ngptlab.errors import ConfigError


def parse_rate(text: str) -> float:
    """A positive learning rate from its text.

    Raises:
        ConfigError: it is no number, or not a positive finite one.
    """
    try:
        rate = float(read_number(text))
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise ConfigError(f"--lrs: given {text!r}; give positive numbers as 2^-9, 2**-9 or 0.002")
    return rate


def show_rate(rate: float) -> str:
    """The text of a learning rate: a whole power of two as 2^-9, anything else in decimals."""
    mantissa, exponent = math.frexp(rate)
    return f"2^{exponent - 1}" if mantissa == 0.5 else f"{rate:.4g}"
