"""How far a preparation has come, so that one that was killed goes on.

`progress.json` is the last entry, `progress.hashes` the content hashes of the documents done, so that their copies are
known without reading them again. Both are gone when all is done. An entry has digests of everything that it says was
written, and of itself: what goes on from it begins with comparing them.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pydantic import Field

from ngptlab import disk
from ngptlab.config import Frozen
from ngptlab.data.prepare.split_rule import Extremes
from ngptlab.data.prepare.split_writers import SplitState, SplitWriters
from ngptlab.data.shards.record import WrongDigestError, read_record, write_record
from ngptlab.disk import is_temporary, naming, sync, update
from ngptlab.errors import DataError
from ngptlab.folders import remove_temporaries

JOURNAL = "progress.json"
HASHES = "progress.hashes"
HASH_BYTES = 32


class Journal(Frozen):
    """A moment at which everything before it was on the disk."""

    job: str
    """Stands for the source and the settings."""
    extremes: Extremes | None = None
    """Those of all documents, in a second pass; the first does without (split_rule.py)."""
    found: Extremes | None = None
    """Those of the documents done."""
    position: tuple[int, int] = (0, 0)
    """The source is read up to here: number of a part, documents of it."""
    documents: int = 0
    """Distinct documents done, those that the tokenizer can't take included."""
    hashes_sha256: str = ""
    """Digest of their content hashes; empty where there are none."""
    left_out: int = 0
    """Documents up to here that can't be used."""
    drafts: dict[str, SplitState] = Field(default_factory=dict)
    """How far each split is written, by split; the name is that of files there are."""


def read_journal(folder: Path, job: str) -> Journal | None:
    """The last entry; None in an empty folder, and where another job had begun and done nothing.

    Raises:
        DataError: the entry is of another job, damaged or of an earlier version, or the folder holds something else.
    """
    path = folder / JOURNAL
    try:
        journal = read_record(path, Journal)
    except FileNotFoundError:
        others = sorted(entry.name for entry in folder.iterdir() if not is_temporary(entry))
        if others:
            raise DataError(f"{folder}: holds {others[0]}; give --out a new or empty folder") from None
        return None
    except WrongDigestError as error:
        raise DataError(
            f"{path}: damaged, or of an earlier version ({error}), so it can't be gone on from; delete the folder {folder} "
            "to begin again"
        ) from None
    except (OSError, ValueError):
        raise DataError(f"{path}: damaged; delete the folder {folder} to begin again") from None
    if journal.job != job and journal.documents:  # where nothing is done, nothing is lost
        raise DataError(
            f"{folder}: was begun from other text or with other settings; give the same ones, or another --out"
        )
    return journal if journal.job == job else None


def write_journal(folder: Path, journal: Journal, hashes: bytes = b"") -> None:
    """Replace the entry, as a whole or not at all, after adding the hashes of the documents since the last one."""
    if journal.documents:
        with naming(folder / HASHES, len(hashes)), update(folder / HASHES) as file:
            file.truncate(HASH_BYTES * journal.documents - len(hashes))
            file.seek(0, os.SEEK_END)
            file.write(hashes)
            sync(file)
    write_record(folder / JOURNAL, journal)


def read_hashes(folder: Path, journal: Journal) -> list[bytes]:
    """The content hashes of the documents done, in order.

    Raises:
        DataError: some are missing, or not what was written.
    """
    if not journal.documents:
        return []
    size = HASH_BYTES * journal.documents
    try:
        with disk.open_regular(folder / HASHES) as file:
            raw = file.read(size)
    except OSError:
        raw = b""
    if len(raw) < size or hashlib.sha256(raw).hexdigest() != journal.hashes_sha256:
        raise DataError(f"{folder / HASHES}: damaged; delete the folder {folder} to begin again")
    return [raw[low : low + HASH_BYTES] for low in range(0, size, HASH_BYTES)]


def clear(folder: Path) -> None:
    """Leave nothing of a preparation."""
    SplitWriters(folder, {})
    remove_temporaries(folder)
    for name in (HASHES, JOURNAL):
        (folder / name).unlink(missing_ok=True)
