"""What a folder of shards holds, as a record beside them, and whether the files are still what it says.

`manifest.json` is the only thing that is trusted about a corpus: whatever contradicts it is damage.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from ngptlab.config import Frozen
from ngptlab.data.cache import cache_folder
from ngptlab.data.shards import Shard, file_sha256
from ngptlab.disk import write_text
from ngptlab.errors import DataError

FORMAT_VERSION: Final = 1
MANIFEST = "manifest.json"
SPLITS = ("train", "val", "long")


class Split(Frozen):
    """One of train, val, long."""

    shards: tuple[Shard, ...] = ()
    """Its files, in order; none where the split is empty."""
    documents: int = 0
    """Number of documents."""
    tokens: int = 0
    """Number of tokens, the end-of-text token of each document included."""
    text_bytes: int = 0
    """UTF-8 bytes of the documents' text."""
    max_token: int = 0
    """The largest token; 0 where the split is empty."""


class Manifest(Frozen):
    """What a prepared corpus consists of. Holds no folder and no time, so it is the same on every machine."""

    format_version: Literal[1] = FORMAT_VERSION
    source: str
    """`stdlib`, or `text:` or `shards:` and the last name of the path, or `hf:`, the data set, its split and commit."""
    tokenizer: str
    """`bytes`, `gpt2`, or `tokenizers:` and the beginning of a file's digest."""
    vocab_size: int
    """The tokenizer's."""
    end_of_text: int
    """The token before every document."""
    splits: dict[str, Split]
    """train, val and long; long may be empty."""

    @property
    def digest(self) -> str:
        """SHA-256 of everything but `source`: equal digests mean the same tokens in the same splits."""
        fields = self.model_dump(mode="json", exclude={"source"})
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Put a manifest on the disk, all of it when this returns; a kill leaves no part of it under its name.

    Raises:
        OSError: the file can't be written.
    """
    write_text(path, manifest.model_dump_json(indent=2) + "\n")


def cached_manifest(folder: Path) -> Path:
    """Where the manifest of a folder that can't be written is kept."""
    key = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache_folder() / "shards" / key / MANIFEST


def locate_manifest(folder: Path) -> Path:
    """A folder's manifest: in it, else in the cache if it is there; it may be at neither place."""
    beside = folder / MANIFEST
    return cached_manifest(folder) if not beside.exists() and cached_manifest(folder).exists() else beside


def read_manifest(path: Path, remedy: str) -> Manifest:
    """The manifest of that name.

    Raises:
        DataError: it is missing or no manifest; ends with the remedy.
    """
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise damaged(path, f"can't be read ({error.strerror})", remedy) from None
    except ValidationError as error:
        raise damaged(path, f"is no manifest ({error.error_count()} fields wrong)", remedy) from None
    if set(manifest.splits) != set(SPLITS):
        raise damaged(path, f"has splits {sorted(manifest.splits)}, not {sorted(SPLITS)}", remedy)
    return manifest


def check_size(folder: Path, shard: Shard, remedy: str) -> None:
    """Hold a file's size against its record.

    Raises:
        DataError: the file is missing, shorter or longer.
    """
    path = folder / shard.file
    try:
        size = path.stat().st_size
    except OSError as error:
        raise damaged(path, f"can't be read ({error.strerror})", remedy) from None
    if size != shard.bytes:
        kind = "truncated" if size < shard.bytes else "longer than it was"
        raise damaged(path, f"is {kind}, {size} bytes where the manifest says {shard.bytes}", remedy)


def check_digest(folder: Path, shard: Shard, remedy: str) -> None:
    """Hold a file's content against its record.

    Raises:
        DataError: the file can't be read or its content has changed.
    """
    path = folder / shard.file
    try:
        found = file_sha256(path)
    except OSError as error:
        raise damaged(path, f"can't be read ({error.strerror})", remedy) from None
    if found != shard.sha256:
        raise damaged(path, "has changed, its SHA-256 is not the manifest's", remedy)


def damaged(path: Path, damage: str, remedy: str) -> DataError:
    """The error for a file that isn't what it should be: what is wrong, then what to do."""
    return DataError(f"{path}: {damage}; {remedy}")
