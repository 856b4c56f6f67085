"""Names of methods in a config: `name` for a method of the package, `stem@digest` for a method in somebody's own file.

The digest is of the file's content. So a config names one version of an idea, wherever the file lies. Imports no torch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

MARK = "@"
DIGITS = 12
"""Hexadecimal digits of the content's SHA-256 in a name."""
STEM = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
"""Stems of files that can be methods: a stem can be a module's name, and a part of a folder's name."""
NAME = re.compile(rf"{STEM.pattern}{MARK}[0-9a-f]{{{DIGITS}}}")


def name_of(stem: str, content: bytes) -> str:
    """The name of a method that is a file of this stem and content."""
    return f"{stem}{MARK}{hashlib.sha256(content).hexdigest()[:DIGITS]}"


def is_of_file(name: str) -> bool:
    """Whether a method's name is that of somebody's own file."""
    return NAME.fullmatch(name) is not None


def stem(name: str) -> str:
    """A method's name for people: without a digest."""
    return name.partition(MARK)[0]


def identity(name: str) -> str:
    """The part of a name that decides a run's numbers: for a file, the digest of its content alone."""
    return name[name.index(MARK) :] if is_of_file(name) else name


def arm(method: str, lent: Mapping[str, str], *, whole: bool = False) -> str:
    """The method and the seams that others lend it, as a word for a folder's name: `a`, or `a+b.norm.qk`.

    `whole`: with digests, which tell two versions of a file apart.
    """
    shown = str if whole else stem
    seams: dict[str, list[str]] = {}
    for seam, lender in lent.items():
        seams.setdefault(shown(lender), []).append(seam)
    return "+".join([shown(method), *(".".join([lender, *taken]) for lender, taken in seams.items())])
