"""One file of results: its kind, which its content tells, and its evidence."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ngptlab import disk
from ngptlab.claims.evidence import Evidence
from ngptlab.claims.reading import Reader
from ngptlab.config import explain
from ngptlab.discover import modules
from ngptlab.errors import DataError, LabError
from ngptlab.evidence import comparison, step_times
from ngptlab.json_text import parse_json

READABLE = (".json", ".csv")


def kind_of(path: Path) -> Reader | None:
    """The reader of this file; None where the file speaks to no claim.

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
    with damage_in(path, "write it again"):
        return reader.read(_rows(held), name)


@contextmanager
def damage_in(path: Path, remedy: str) -> Iterator[None]:
    """Around what makes evidence of a file's content.

    Raises:
        DataError: the content is not as its kind has it.
    """
    try:
        yield
    except LabError:
        raise
    except ValidationError as error:
        why = " ".join(explain(error).split())[:300]
    except KeyError as error:
        why = f"{error} is missing"
    except ValueError as error:
        why = str(error)
    else:
        return
    raise DataError(f"{path}: damaged ({why}); {remedy}")


def load(path: Path) -> Any:
    """What a file holds: a CSV as rows whose empty cells are left out."""
    try:
        text = disk.read_text(path)
        if path.suffix != ".csv":
            return parse_json(text)
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
        keys, rows = set(held), False
    elif isinstance(held, list) and held and isinstance(held[0], dict):
        keys, rows = {key for row in held if isinstance(row, dict) for key in row}, True
    else:
        return None
    return next((reader for reader in readers() if reader.rows == rows and reader.holds <= keys), None)


def readers() -> Iterator[Reader]:
    """Readers of every kind of file. A study's or an evaluation's readers are in its folder."""
    yield from (*comparison.READERS, *step_times.READERS)
    for package in ("ngptlab.studies", "ngptlab.measure"):
        for module in modules(package, "evidence").values():
            yield from module.READERS
