"""How far a preparation has come, so that one that was killed goes on. `progress.json`, gone when all is done."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, ValidationError

from ngptlab.config import Frozen
from ngptlab.data.manifest import fsync_folder
from ngptlab.data.writer import WriterState
from ngptlab.errors import DataError

JOURNAL = "progress.json"
TEMPORARY = f".{JOURNAL}.tmp"


class Survey(Frozen):
    """What the first pass over the source has found."""

    smallest: str
    """The smallest content hash, in hex."""
    largest: str
    """The largest one."""
    text_bytes: int
    """UTF-8 bytes of all documents, copies included."""


class DraftState(Frozen):
    """A split that is being written."""

    writer: WriterState = WriterState()
    documents: int = 0
    tokens: int = 0
    text_bytes: int = 0


class Journal(Frozen):
    """A moment at which everything before it was on the disk."""

    job: str
    """Stands for the source and the settings."""
    survey: Survey
    documents: int = 0
    """Distinct documents done."""
    drafts: dict[str, DraftState] = Field(default_factory=dict)
    """By split."""


def read_journal(folder: Path, job: str) -> Journal | None:
    """The last entry; None in an empty folder.

    Raises:
        DataError: the entry is of another job or damaged, or the folder holds something else.
    """
    path = folder / JOURNAL
    try:
        journal = Journal.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        others = sorted(entry.name for entry in folder.iterdir() if entry.name != TEMPORARY)
        if others:
            raise DataError(f"{folder}: holds {others[0]}; give --out a new or empty folder") from None
        return None
    except ValidationError:
        raise DataError(f"{path}: damaged; delete the folder {folder} to begin again") from None
    if journal.job != job:
        raise DataError(
            f"{folder}: was begun from other text or with other settings; give the same ones, or another --out"
        )
    return journal


def write_journal(folder: Path, journal: Journal) -> None:
    """Replace the entry, as a whole or not at all."""
    with (folder / TEMPORARY).open("w", encoding="utf-8") as file:
        file.write(journal.model_dump_json())
        file.flush()
        os.fsync(file.fileno())
    (folder / TEMPORARY).replace(folder / JOURNAL)
    fsync_folder(folder)
