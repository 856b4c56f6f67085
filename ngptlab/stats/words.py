"""Numbers as texts: losses in nats with their error, counts, learning rates."""

from __future__ import annotations

import math

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def nats(value: float | None, error: float | None = None, *, sign: bool = False) -> str:
    """A loss or gap as '3.3280' or '3.3280 ± 0.0031', with two digits of the error and no line break; '–' for None."""
    if value is None:
        return "–"
    digits = 4 if not error else min(6, max(3, 1 - math.floor(math.log10(error))))
    text = f"{value:{'+' if sign else ''}z.{digits}f}".replace("-", "−")
    return text if error is None else f"{text}\u00a0±\u00a0{error:.{digits}f}"


def count(value: float | None) -> str:
    """'1,234', '12.3k', '2.46M' or '2.5B'."""
    if value is None:
        return "–"
    for size, unit, letter in ((1e9, 1e9, "B"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if value >= size:
            return f"{value / unit:.3g}{letter}"
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """A learning rate: '2⁻⁹' where it is a power of two, else four digits."""
    exponent = round(math.log2(value))
    return f"2{str(exponent).translate(SUPERSCRIPT)}" if value == 2.0**exponent else f"{value:.4g}"
