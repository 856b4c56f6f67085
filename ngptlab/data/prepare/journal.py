"""How far a preparation has come, so that it goes on after a kill.

`progress.json` holds the last entry. `progress.hashes` holds the content hashes of the documents done, by which copies are
found without reading those documents again. Both files are deleted when all is done. An entry has digests of itself and of
everything that it says was written. A preparation that goes on compares them first.
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
    """An entry: how far the work was when everything done until then was on the disk."""

    job: str
    """Identifies the source and the settings."""
    extremes: Extremes | None = None
    """Extremes of all documents, in a second pass. The first pass does without them (text_to_shards.py)."""
    found: Extremes | None = None
    """Extremes of the documents done."""
    position: tuple[int, int] = (0, 0)
    """Place up to which the source has been read: number of a part, and number of its documents."""
    documents: int = 0
    """Distinct documents done, those that the tokenizer can't encode included."""
    hashes_sha256: str = ""
    """SHA-256 of the content hashes of the documents done; empty where there are none."""
    left_out: int = 0
    """Documents up to here that can't be used."""
    drafts: dict[str, SplitState] = Field(default_factory=dict)
    """State of each split, by its name. The field keeps its name because existing journals have it."""


def read_journal(folder: Path, job: str) -> Journal | None:
    """The last entry; None in an empty folder, and where another job had begun but finished no document.

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
            f"{path}: damaged, or of an earlier version ({error}), so nothing can go on from it; delete the folder {folder} "
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
    """Delete everything that a preparation has written."""
    SplitWriters(folder, {})
    remove_temporaries(folder)
    for name in (HASHES, JOURNAL):
        (folder / name).unlink(missing_ok=True)
