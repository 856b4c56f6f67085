"""Errors for users. Each message is one line: what was given, what is allowed, what to do.

The command line prints a `LabError` without a traceback and exits with 2. Our own broken invariants are `assert`s.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable

SHOWN = 80
"""Characters of a value that a message repeats. What is wrong may be a megabyte."""


MAX_BITS = 1024
"""Python refuses to print whole numbers of some thousand digits."""


PASSWORD = re.compile(r"(?<=://)[^\s/@]+@")
"""The name and password in an address."""
SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
"""In the name of a variable of the environment, that its value is a secret."""
SHORTEST_SECRET = 8
"""Characters of one. Shorter values, as `false`, are words that a message may have."""


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


def without_secrets(text: str) -> str:
    """What a library said, without passwords in addresses and secrets of the environment: our messages are kept in files."""
    text = PASSWORD.sub("***@", text)
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    return text


def nearest(given: str, allowed: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest allowed one, or all of them where none is near."""
    names = sorted(allowed)
    close = near(given, names)
    return f"did you mean {close!r}?" if close else f"allowed: {', '.join(names)}"


def near(given: str, allowed: Iterable[str], cutoff: float = 0.5) -> str:
    """The nearest allowed name, whatever its case and its dashes; empty where none is near."""
    names = {name: folded(name) for name in allowed}
    wanted = folded(given)
    # The same letters are a likelier slip than others: capitals, dashes, two of them in the wrong order.
    alike = [name for name, each in names.items() if each == wanted]
    alike += [name for name, each in names.items() if sorted(each) == sorted(wanted)]
    found = difflib.get_close_matches(wanted, names.values(), n=1, cutoff=cutoff)
    alike += [name for name, each in names.items() if each in found]
    return alike[0] if alike else ""


def folded(name: str) -> str:
    """A name without what people vary in it: capitals, dashes, underscores, blanks."""
    return re.sub(r"[-_\s]", "", name).lower()


def shown(value: object, *, quoted: bool = True) -> str:
    """A value for a message: one line of some 80 characters. `quoted` False: a word without quotes, where it can be printed."""
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return f"a number of {value.bit_length()} bits"
    text = value if isinstance(value, str) else repr(value)
    text = text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
    return repr(text) if isinstance(value, str) and (quoted or not text.isprintable()) else text
