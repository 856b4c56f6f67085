"""One file of results: its kind, recognized by its content, and its evidence."""

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
from ngptlab.evidence import step_times
from ngptlab.json_text import parse_json
from ngptlab.report import evidence as comparison
from ngptlab.terminal import text_of_cell

READABLE = (".json", ".csv")


def read_file(path: Path, name: str) -> Evidence | None:
    """The evidence of a file under this name; None where it is evidence for no claim.

    Raises:
        DataError: the file can't be read, is no JSON or CSV, or is damaged.
    """
    content = load(path)
    if isinstance(content, dict) and set(content) == {"rows"}:
        content = content["rows"]
    if (reader := _reader(content)) is None:
        return None
    with damage_in(path, "write it again"):
        return reader.read(content, name)


@contextmanager
def damage_in(path: Path, remedy: str) -> Iterator[None]:
    """Turn errors in a file's content into one that names the file.

    Raises:
        DataError: the content does not fit its kind.
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
    """A file's content. A CSV is a list of rows without empty cells."""
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
            {
                key: text_of_cell(value) if isinstance(value, str) else value
                for key, value in row.items()
                if value not in ("", None)
            }
            for row in csv.DictReader(text.splitlines(), strict=True)
        ]
    except csv.Error as error:
        raise DataError(f"{path}: damaged ({error}); write it again, or leave it out") from None


def _reader(content: Any) -> Reader | None:
    if isinstance(content, dict):
        keys, rows = set(content), False
    elif isinstance(content, list) and content and isinstance(content[0], dict):
        keys, rows = {key for row in content if isinstance(row, dict) for key in row}, True
    else:
        return None
    return next((reader for reader in readers() if reader.rows == rows and reader.holds <= keys), None)


def readers() -> Iterator[Reader]:
    """Readers of every kind of file. They are in the folder of what writes it: a study, an evaluation, the report."""
    yield from (*comparison.READERS, *step_times.READERS)
    for package in ("ngptlab.studies", "ngptlab.measure"):
        for module in modules(package, "evidence").values():
            yield from module.READERS
