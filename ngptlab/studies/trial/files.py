"""A record of tries, one line of JSON each, so that a method is not tried twice on one recipe against one rival."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from ngptlab import disk
from ngptlab.errors import ConfigError, DataError
from ngptlab.folders import make
from ngptlab.json_text import parse_json
from ngptlab.stats.declared import parsed
from ngptlab.studies.trial.numbers import Trial

NAME = "tries.jsonl"
STEPS = "steps.json"
"""File in the folder of a try with the number of steps of its runs and their budget."""
FILE_BYTES = 1 << 28
"""Limit for the file. A try takes two kilobytes."""


def recorded(folder: Path, key: str) -> Trial | None:
    """The last try with this key; None where there is none. A last line that a kill cut short is ignored.

    Raises:
        DataError: a line is no record of a try.
    """
    path, found = folder / NAME, None
    if not path.exists():
        return None
    try:
        content = disk.read_bytes(path, limit=FILE_BYTES, longest=disk.RECORD_BYTES)
    except OSError as error:
        raise DataError(
            f"{path}: can't be read ({error.strerror}); mend that, or give another --out"
        ) from None
    for number, line in enumerate(disk.lines_of(content), start=1):
        try:
            record = parsed(Trial, parse_json(line))
        except ValidationError:
            raise _damaged(path, number, "no record of a try") from None
        except ValueError as error:
            raise _damaged(path, number, str(error)) from None
        if not Trial.__required_keys__ <= record.keys():
            raise _damaged(path, number, "no record of a try")
        if record["key"] == key:
            found = record
    return found


def record(folder: Path, trial: Trial) -> None:
    """Add a try.

    Raises:
        ConfigError: it can't be written.
    """
    path = folder / NAME
    try:
        make(folder)
        with disk.locked(folder / f".{NAME}.lock", wait=True):
            content = disk.read_bytes(path, limit=FILE_BYTES) if path.exists() else b""
            if torn := len(content) - (content.rfind(b"\n") + 1):
                disk.truncate(path, len(content) - torn)
            disk.append(path, json.dumps(trial, allow_nan=False) + "\n")
    except OSError as error:
        raise ConfigError(
            f"{error.filename or path}: can't be written ({error.strerror}); give another --out"
        ) from None


def steps_of(folder: Path, budget_seconds: float, choose: Callable[[], int]) -> int:
    """The steps that a try of this budget began with, so that it goes on after a stop; else those of `choose`.

    Raises:
        ConfigError: they can't be written.
    """
    path = folder / STEPS
    with contextlib.suppress(OSError, ValueError):
        kept = disk.read_json(path)
        same = isinstance(kept, dict) and kept.get("budget_seconds") == budget_seconds
        if same and isinstance(steps := kept.get("steps"), int) and steps > 0:
            return steps
    steps = choose()
    try:
        make(folder)
        disk.write_json(path, {"budget_seconds": budget_seconds, "steps": steps})
    except OSError as error:
        raise ConfigError(
            f"{error.filename or path}: can't be written ({error.strerror}); give another --out"
        ) from None
    return steps


def _damaged(path: Path, line: int, what: str) -> DataError:
    return DataError(f"{path}, line {line}: damaged ({what[:200]}); take the line out")
