"""Types of options."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """A whole number from 1 on, as an option's type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"given {text!r}, give a whole number from 1 on")
    return int(text)
