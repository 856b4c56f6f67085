"""The parts that a `config.json` may name: those of every method of the package or from a user's file.

An exported model has a file of this name with its own few parts instead.
"""

from __future__ import annotations

from ngptlab import methods
from ngptlab.export.records import name_of, records_in
from ngptlab.method_files import sources


def part_kinds() -> dict[str, type]:
    """Kinds of parts by their names in `config.json`."""
    own = [source.name for source in sources.every() if source.given]
    found = (type(part) for name in [*methods.names(), *own] for part in records_in(methods.load(name)))
    return {name_of(kind): kind for kind in found}
