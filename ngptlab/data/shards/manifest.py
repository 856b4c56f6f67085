"""The manifest: a record of what a folder of shards holds, and checks that its files still hold it.

`manifest.json` is the only thing that is trusted about a corpus: whatever contradicts it is damage.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer

from ngptlab.config import Frozen
from ngptlab.data.shards.cache import cache_folder
from ngptlab.data.shards.format import FORMATS, HEADER_BYTES, Shard, file_sha256
from ngptlab.data.shards.record import WrongDigestError, read_record, write_record
from ngptlab.data.tokens.gpt2 import Gpt2Tokenizer
from ngptlab.data.tokens.tokenizer import ByteTokenizer
from ngptlab.errors import DataError

FORMAT_VERSION: Final = 1
MANIFEST = "manifest.json"
SPLITS = ("train", "val", "long")
MADE_UP = "made-up"
"""Source of shards whose tokens mean nothing (made_up.py); each but the end of text counts as one byte."""


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
    """`stdlib`, or `text:` or `shards:` and the last name of the path, or `hf:`, the data set, its split and commit, or
    `MADE_UP`."""
    tokenizer: str
    """`bytes`, `gpt2`, or `tokenizers:` and the beginning of a file's digest."""
    vocab_size: int
    """Size of the tokenizer's vocabulary."""
    end_of_text: int
    """The token before every document."""
    splits: dict[str, Split]
    """train, val and long; long may be empty."""
    cut: str = ""
    """Where the source was one document, how it was cut into training and validation; empty where splits are by document."""
    left_out: int = 0
    """Documents of the source that couldn't be used, and were left out as --bad-documents skip asks for."""

    @property
    def digest(self) -> str:
        """SHA-256 of all fields that describe the tokens: equal digests mean the same tokens in the same splits."""
        fields = self.model_dump(mode="json", exclude={"source", "left_out", "cut"})
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()

    @property
    def shards(self) -> list[Shard]:
        """The files of all splits."""
        return [shard for split in self.splits.values() for shard in split.shards]

    def paths(self, folder: Path, split: str) -> list[Path]:
        """Where the files of a split lie, in order."""
        return [folder / shard.file for shard in self.splits[split].shards]

    @model_serializer(mode="wrap")
    def _older_form(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A field that was added later stays out where it is 0, so that the text of older manifests stays the same."""
        fields: dict[str, Any] = dump(self)
        for later in ("left_out", "cut"):
            if not getattr(self, later):
                fields.pop(later, None)
        return fields


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Put a manifest on the disk, all of it when this returns; a kill leaves no part of it under its name.

    Raises:
        OSError: the file can't be written.
    """
    write_record(path, manifest)


def cached_manifest(folder: Path) -> Path:
    """Path in the cache of the manifest of a folder that can't be written."""
    key = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache_folder() / "shards" / key / MANIFEST


def locate_manifest(folder: Path) -> Path:
    """Path of a folder's manifest: in the folder, or in the cache if it is only there. It may exist at neither place."""
    beside = folder / MANIFEST
    return cached_manifest(folder) if not beside.exists() and cached_manifest(folder).exists() else beside


def read_manifest(path: Path, remedy: str) -> Manifest:
    """Read a manifest and check that its numbers agree with one another.

    Raises:
        DataError: it is missing, no manifest, or not what was written; the message ends with the remedy.
    """
    try:
        manifest = read_record(path, Manifest, required=False)
    except OSError as error:
        raise damaged(path, f"can't be read ({error.strerror})", remedy) from None
    except WrongDigestError:
        raise damaged(path, "has changed since it was written, by its own SHA-256", remedy) from None
    except ValidationError as error:
        raise damaged(path, f"is no manifest ({error.error_count()} fields wrong)", remedy) from None
    except ValueError as error:
        raise damaged(path, f"is no manifest ({error})", remedy) from None
    if set(manifest.splits) != set(SPLITS):
        raise damaged(path, f"has splits {sorted(manifest.splits)}, not {sorted(SPLITS)}", remedy)
    for name, split in manifest.splits.items():
        if problem := _contradiction(name, split, _text_token_bytes(manifest)):
            raise damaged(path, problem, remedy)
    return manifest


def _contradiction(name: str, split: Split, of_a_token: tuple[int, int] | None) -> str:
    """How the numbers of a split contradict one another; empty where they don't.

    Args:
        of_a_token: least and most bytes of text that a token stands for, ends of texts left out; None: not known.
    """
    shards = split.shards
    if (tokens := sum(shard.tokens for shard in shards)) != split.tokens:
        return f"says {split.tokens} tokens for {name}, its shards add up to {tokens}"
    if (largest := max((shard.max_token for shard in shards), default=0)) != split.max_token:
        return f"says {split.max_token} is the largest token of {name}, by its shards it is {largest}"
    for shard in shards:
        if shard.bytes not in [HEADER_BYTES + form.token_bytes * shard.tokens for form in FORMATS]:
            return f"says {shard.bytes} bytes for {shard.file}, which its {shard.tokens} tokens can't take"
    if not 0 <= split.documents <= tokens:
        return f"says {split.documents} documents for {name}, which has {tokens} tokens"
    words = tokens - split.documents
    least, most = of_a_token or (0, split.text_bytes)
    if not least * words <= split.text_bytes <= most * words:
        return f"says {split.text_bytes} bytes of text for {name}, which its {words} tokens of text can't be"
    return ""


def _text_token_bytes(manifest: Manifest) -> tuple[int, int] | None:
    if manifest.source == MADE_UP or manifest.tokenizer == ByteTokenizer.name:
        return 1, 1
    return (1, Gpt2Tokenizer.longest) if manifest.tokenizer == Gpt2Tokenizer.name else None


def check_size(folder: Path, shard: Shard, remedy: str) -> None:
    """Compare a file's size with its record.

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
    """Compare the digest of a file's content with its record.

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
