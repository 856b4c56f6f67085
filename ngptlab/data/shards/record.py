"""Records on the disk that carry their own digest, so that any change in one is found when it is read."""

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
    """Write a record in place of any file of its name. All of it is on the disk when this returns.

    Raises:
        OSError: it can't be written.
    """
    write_json(path, {**record.model_dump(mode="json"), DIGEST: _digest(record)})


def read_record(path: Path, kind: type[Record], *, required: bool = True) -> Record:
    """The record in a file.

    Args:
        required: whether a record without a digest is refused. Earlier versions wrote such records.

    Raises:
        OSError: it can't be read.
        WrongDigestError: its digest doesn't match its fields, or is missing though required.
        ValueError: the file holds no record of this kind.
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
    """SHA-256 of all fields, in hex. Their order and spacing in the file make no difference."""
    return hashlib.sha256(json.dumps(record.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
