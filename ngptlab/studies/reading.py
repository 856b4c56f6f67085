"""Read a study's JSON as the record that its writer declares. Other content is an error of one line."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ngptlab import disk
from ngptlab.config import explain
from ngptlab.errors import DataError, LabError
from ngptlab.json_text import parse_json
from ngptlab.stats.declared import parsed
from ngptlab.terminal import printable

T = TypeVar("T")
FILE_BYTES = 8 << 20
"""Limit for a study's file. Ours have a hundred kilobytes; pydantic takes a hundred times a file's bytes for what is wrong."""


def read(path: Path, kind: type[T], *, finite: bool = True) -> T:
    """The record in this file, its texts printable.

    Raises:
        DataError: it can't be read, or isn't such a record; where `finite`, also if a number is not.
    """
    try:
        text = disk.read_text(path, limit=FILE_BYTES)
        record = parse_json(text) if finite else json.loads(text)
        return parsed(kind, _printable(record), exact=True)
    except ValidationError as error:
        raise damaged(path, explain(error)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from None


def damaged(path: Path, why: str) -> DataError:
    """The error that names a study's file."""
    return DataError(
        f"{path}: not what this version of `ngptlab` writes ({' '.join(why.split())[:300]}); "
        "give the study's command again, which trains nothing twice, or leave it out"
    )


@contextmanager
def sensible(path: Path) -> Iterator[None]:
    """Turn errors of work with a record's numbers into one: well-typed numbers may still make no sense together.

    Raises:
        DataError: they make no sense together.
    """
    try:
        # A drawing may warn, as of a glyph that its font lacks. The warning is dropped because the page's table shows all.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            yield
    except LabError:
        raise
    except (ValueError, LookupError, ArithmeticError) as error:
        raise damaged(path, f"its numbers make no sense together: {type(error).__name__}: {error}") from None


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {printable(key): _printable(item) for key, item in value.items()}
    return value
