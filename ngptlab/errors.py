"""Errors for users. Each message is one line: what was given, what is allowed, what to do.

The command line prints a `LabError` without a traceback and exits with 2. Our own broken invariants are `assert`s.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SHOWN = 80
"""Characters of a value that a message repeats. What is wrong may be a megabyte."""


MAX_BITS = 1024
"""Python refuses to print whole numbers of some thousand digits."""


class LabError(Exception):
    """Base of every error that a user can mend."""


class ConfigError(LabError, ValueError):
    """A setting is unknown, ill-typed, out of range, or contradicts another one."""


class DataError(LabError, ValueError):
    """A corpus, a shard or a token is missing, too small, damaged or out of range."""


class CheckpointError(LabError, ValueError):
    """A checkpoint or a run directory is damaged, belongs to another run, or can't be written."""


class DivergedError(LabError, ArithmeticError):
    """The loss or the gradient stopped being finite; nothing of it was saved."""


class WorldError(LabError, RuntimeError):
    """Processes of one run lost each other, or are not what they should be: equal but for the rows that they read."""


def nearest(given: str, allowed: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest allowed one, or all of them where none is near."""
    names = sorted(allowed)
    # Two letters in the wrong order are a likelier slip than a wrong one.
    swapped = [name for name in names if sorted(name) == sorted(given)]
    close = swapped or difflib.get_close_matches(given, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(names)}"


def shown(value: object, *, quoted: bool = True) -> str:
    """A value for a message: one line of some 80 characters. `quoted` False: a word without quotes, where it can be printed."""
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return f"a number of {value.bit_length()} bits"
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
    return repr(text) if isinstance(value, str) and (quoted or not text.isprintable()) else text
