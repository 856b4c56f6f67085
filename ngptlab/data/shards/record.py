"""Records on the disk that carry their own digest, so that whatever changes in one is found when it is read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TypeVar

from ngptlab.config import Frozen
from ngptlab.disk import read_json, write_json

DIGEST = "sha256"

Record = TypeVar("Record", bound=Frozen)


class WrongDigestError(ValueError):
    """A record isn't what was written."""


def write_record(path: Path, record: Frozen) -> None:
    """Put a record on the disk in place of what has its name, all of it when this returns.

    Raises:
        OSError: it can't be written.
    """
    write_json(path, {**record.model_dump(mode="json"), DIGEST: _digest(record)})


def read_record(path: Path, kind: type[Record], *, required: bool = True) -> Record:
    """The record in a file.

    Args:
        required: whether one without a digest is refused; earlier versions wrote such.

    Raises:
        OSError: it can't be read.
        WrongDigestError: its digest is another, or missing though required.
        ValueError: it is no such record.
    """
    fields = read_json(path)
    if not isinstance(fields, dict):
        raise ValueError(f"{type(fields).__name__}, not an object")
    digest = fields.pop(DIGEST, None)
    if digest is None and required:
        raise WrongDigestError("no digest")
    record = kind.model_validate(fields)
    if digest not in (None, _digest(record)):
        raise WrongDigestError("another digest")
    return record


def _digest(record: Frozen) -> str:
    """Of all fields, however they are spaced and ordered in the file."""
    return hashlib.sha256(json.dumps(record.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
