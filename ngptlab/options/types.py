"""Types of options. Each has an upper end, because what no machine can count ends in a traceback somewhere."""

from __future__ import annotations

import argparse
import math
import re

from ngptlab.config import SEEDS
from ngptlab.config.read_number import read_number
from ngptlab.errors import shown

MOST = 2**40
"""The largest count of anything: products of two such numbers are still within what libraries count with."""
MOST_RUNS = 10_000
"""Most runs of one setting, or of one size."""
LONGEST_SECONDS = 86_400.0
"""The longest wait."""
MAX_DIGITS = 50
LEAST, GREATEST = 1e-37, 1e38
"""Limits of real numbers: float32 holds no others."""


def count(text: str) -> int:
    """A whole number from 1 on, as an option's type."""
    value = _whole(text)
    if value is None or value < 1:
        raise argparse.ArgumentTypeError(f"given {shown(text)}, give a whole number from 1 on")
    return _at_most(MOST, value)


def runs(text: str) -> int:
    """A number of runs, as an option's type. The verb says how few are too few."""
    value = _whole(text)
    if value is None:
        raise argparse.ArgumentTypeError(f"given {shown(text)}, give a whole number")
    return _at_most(MOST_RUNS, value)


def size(text: str) -> int:
    """A whole number, as an option's type. The config's own rules check it further."""
    value = _whole(text)
    if value is None:
        raise argparse.ArgumentTypeError(f"given {shown(text)}, give a whole number")
    return _at_most(MOST, value)


def seed(text: str) -> int:
    """A seed, as an option's type."""
    value = _whole(text)
    if value is None or not 0 <= value < SEEDS:
        raise argparse.ArgumentTypeError(f"given {shown(text)}, give a whole number from 0 to {SEEDS - 1}")
    return value


def positive(text: str) -> float:
    """A number above 0 that float32 holds, as an option's type."""
    value = _real(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"given {shown(text)}, give a number above 0")
    if not LEAST <= value <= GREATEST:
        raise argparse.ArgumentTypeError(f"given {shown(text)}, give a number from {LEAST:g} to {GREATEST:g}")
    return value


def number(text: str) -> float:
    """Any number, as an option's type. What it is given to says which are allowed; infinity and nan are told there, too."""
    if text.strip().lstrip("+-").lower() in ("nan", "inf", "infinity"):
        return float(text)
    value = _real(text)
    if math.isnan(value):
        raise argparse.ArgumentTypeError(f"given {shown(text)}, give a number, as 0.5, 1e-3 or 2^-9")
    return value


def seconds(text: str) -> float:
    """A time to wait, as an option's type."""
    value = positive(text)
    if value > LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"given {shown(text)}, give at most {LONGEST_SECONDS:g} seconds")
    return value


def duration(text: str) -> float:
    """A time in seconds, given as 90s, 10m or 1.5h, as an option's type."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh])", text.strip()) if len(text) <= MAX_DIGITS else None
    if found is None:
        raise argparse.ArgumentTypeError(f"given {shown(text)}, give a time as 90s, 10m or 1.5h")
    return seconds(repr(float(found[1]) * {"s": 1, "m": 60, "h": 3600}[found[2]]))


def _whole(text: str) -> int | None:
    if re.fullmatch(r"\s*[-+]?[0-9]+\s*", text) and len(text) <= MAX_DIGITS:
        return int(text)  # with leading zeros, too, as Slurm numbers its jobs
    value = _real(text)
    return int(value) if math.isfinite(value) and value == int(value) else None


def _real(text: str) -> float:
    try:
        return float(read_number(text))
    except (ValueError, OverflowError):
        return math.nan


def _at_most(limit: int, value: int) -> int:
    if value > limit:
        raise argparse.ArgumentTypeError(f"given {value}, give at most {limit}")
    return value
