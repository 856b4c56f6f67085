"""The parts that a `config.json` may name: those of every method there is.

An exported model has a file of this name with its own few parts instead.
"""

from __future__ import annotations

from ngptlab import methods
from ngptlab.export.records import name_of, records_in


def part_kinds() -> dict[str, type]:
    """Kinds of parts by their names in `config.json`."""
    found = (type(part) for name in methods.names() for part in records_in(methods.load(name)))
    return {name_of(kind): kind for kind in found}
