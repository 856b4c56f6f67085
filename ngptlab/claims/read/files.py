"""One file of results: what kind it is, told by what it holds, and its evidence."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ngptlab import disk
from ngptlab.claims.evidence import Evidence
from ngptlab.claims.read import studies, tables
from ngptlab.config import explain
from ngptlab.errors import DataError

READABLE = (".json", ".csv")

Reader = Callable[[Any, str], Evidence]

OBJECTS: tuple[tuple[frozenset[str], Reader], ...] = (
    (frozenset({"arms", "rows", "speedups"}), studies.cooldown),
    (frozenset({"rungs", "base", "target"}), studies.ladder),
    (frozenset({"methods", "gaps", "baseline"}), studies.report),
    (frozenset({"cells"}), tables.sweep),
    (frozenset({"measurements"}), tables.step_times),
)
"""By the keys that tell a JSON object."""
ROWS: tuple[tuple[frozenset[str], Reader], ...] = (
    (frozenset({"param", "width", "lr", "status", "final_loss_nats"}), tables.sweep_rows),
    (frozenset({"run", "from", "to", "loss_nats"}), tables.positions),
    (frozenset({"run", "place", "view", "condition"}), tables.conditions),
    (frozenset({"run", "place", "kind", "mean"}), tables.scales),
    (frozenset({"task", "metric", "run", "value"}), tables.accuracies),
)
"""By the columns that tell a table."""


def kind_of(path: Path) -> Reader | None:
    """What reads this file; None where it speaks to no claim.

    Raises:
        DataError: it can't be read, or is no JSON or CSV.
    """
    return _reader(load(path))


def read_file(path: Path, name: str) -> Evidence:
    """The evidence of a file that `kind_of` knows.

    Raises:
        DataError: it is damaged.
    """
    held = load(path)
    reader = _reader(held)
    assert reader is not None
    try:
        return reader(_rows(held), name)
    except ValidationError as error:
        raise DataError(
            f"{path}: damaged ({' '.join(explain(error).split())[:300]}); write it again"
        ) from None
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}); write it again") from None


def load(path: Path) -> Any:
    """What a file holds: a CSV as rows whose empty cells are left out."""
    try:
        text = disk.read_text(path)
        if path.suffix != ".csv":
            return disk.parse_json(text)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: can't be read ({' '.join(str(error).split())[:200]}); write it again, or leave it out"
        ) from None
    try:
        return [
            {key: value for key, value in row.items() if value not in ("", None)}
            for row in csv.DictReader(text.splitlines(), strict=True)
        ]
    except csv.Error as error:
        raise DataError(f"{path}: damaged ({error}); write it again, or leave it out") from None


def _rows(held: Any) -> Any:
    return held["rows"] if isinstance(held, dict) and set(held) == {"rows"} else held


def _reader(held: Any) -> Reader | None:
    held = _rows(held)
    if isinstance(held, dict):
        found = [reader for keys, reader in OBJECTS if keys <= held.keys()]
    elif isinstance(held, list) and held and isinstance(held[0], dict):
        columns = {key for row in held if isinstance(row, dict) for key in row}
        found = [reader for keys, reader in ROWS if keys <= columns]
    else:
        found = []
    return found[0] if found else None
