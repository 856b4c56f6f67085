"""Names of our operators in torch's registry, which keeps one operator of a name in a process."""

from __future__ import annotations

import re


def operator(module: str, name: str) -> str:
    """The full name of an operator. The module is part of it, because an exported model has a copy of the module."""
    namespace = re.sub(r"\W", "_", module)
    return f"{namespace}::{name}"
