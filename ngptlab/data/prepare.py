"""Documents to split shards and their manifest: two passes over the source, constant memory but for hashes.

A document's split follows from its content: u is the first 8 bytes of its SHA-256, as a fraction of 2**64.

    u < val_share                            val
    u < val_share + long_share, long enough  long
    else                                     train

so adding documents moves no other between splits. Exact duplicates are dropped first. In a small corpus this
alone may leave a split empty; therefore the document of smallest u is always val, that of largest u always
train. Where there are documents enough for the shares, the rule puts them there anyway.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ngptlab.config import DataConfig
from ngptlab.data import sources
from ngptlab.data.manifest import MANIFEST, SPLITS, Manifest, Split, fsync_folder, write_manifest
from ngptlab.data.shards import ShardWriter
from ngptlab.data.tokenize import Tokenizer
from ngptlab.errors import DataError


class _Extremes(NamedTuple):
    """Content hashes with the smallest and the largest u."""

    smallest: bytes
    largest: bytes


def prepare(data: DataConfig, tokens: Tokenizer, folder: Path, *, long_min_tokens: int) -> Manifest:
    """Fill an empty folder with the shards of `data` and a manifest, all of it on the disk when this returns.

    Raises:
        DataError: the source can't be read, has fewer than two different documents, or changed meanwhile.
        OSError: the folder can't be written.
    """
    before = sources.fingerprint(data.source)
    extremes = _survey(data.source)
    with contextlib.ExitStack() as stack:
        drafts = {name: _Draft(stack.enter_context(ShardWriter(folder, name))) for name in SPLITS}
        for text, digest in _distinct(data.source):
            ids = tokens.encode(text)
            draft = drafts[_place(digest, len(ids), data, extremes, long_min_tokens)]
            draft.writer.write(np.array([tokens.end_of_text], dtype=np.uint16))
            draft.writer.write(ids)
            draft.documents += 1
            draft.text_bytes += len(text.encode())
    if sources.fingerprint(data.source) != before:
        raise DataError(f"{data.source}: changed while it was read; start again once nothing writes to it")
    manifest = Manifest(
        source=_label(data.source),
        tokenizer=tokens.name,
        vocab_size=tokens.vocab_size,
        end_of_text=tokens.end_of_text,
        splits={name: draft.split() for name, draft in drafts.items()},
    )
    assert manifest.splits["train"].documents and manifest.splits["val"].documents, manifest
    write_manifest(manifest, folder / MANIFEST)
    fsync_folder(folder)
    return manifest


class _Draft:
    """A split being written."""

    def __init__(self, writer: ShardWriter) -> None:
        self.writer = writer
        self.documents = 0
        self.text_bytes = 0

    def split(self) -> Split:
        shards = self.writer.shards
        return Split(
            shards=tuple(shards),
            documents=self.documents,
            tokens=sum(shard.tokens for shard in shards),
            text_bytes=self.text_bytes,
            max_token=max((shard.max_token for shard in shards), default=0),
        )


def _hashed(source: str) -> Iterator[tuple[str, bytes]]:
    """Text and content hash of every document that isn't blank."""
    for document in sources.documents(source):
        if document.text.strip():
            yield document.text, hashlib.sha256(document.text.encode()).digest()


def _distinct(source: str) -> Iterator[tuple[str, bytes]]:
    """The same, without exact copies. Its set of hashes is the only memory that grows with the corpus."""
    seen: set[bytes] = set()
    for text, digest in _hashed(source):
        if digest not in seen:
            seen.add(digest)
            yield text, digest


def _survey(source: str) -> _Extremes:
    """First pass, over hashes only. A hash and its u are in the same order, so the extremes are u's too."""
    smallest = largest = None
    for _, digest in _hashed(source):
        smallest = digest if smallest is None else min(smallest, digest)
        largest = digest if largest is None else max(largest, digest)
    if smallest is None or largest is None:
        raise DataError(
            f"{source}: an empty corpus, no document in it has any text; give another --data.source"
        )
    if smallest == largest:
        raise DataError(
            f"{source}: holds one document (exact copies count once), and validation is by document, so at "
            "least two files or lines are needed; split the text into files of a folder (`split -n l/20 "
            "--additional-suffix=.txt book.txt part-`) or into a .jsonl file of one document a line"
        )
    return _Extremes(smallest, largest)


def _place(
    digest: bytes, num_tokens: int, data: DataConfig, extremes: _Extremes, long_min_tokens: int
) -> str:
    u = int.from_bytes(digest[:8], "big") / 2**64
    if digest == extremes.smallest or (u < data.val_share and digest != extremes.largest):
        return "val"
    is_long = u < data.val_share + data.long_share and num_tokens >= long_min_tokens
    return "long" if is_long and digest != extremes.largest else "train"


def _label(source: str) -> str:
    scheme, separator, place = source.partition(":")
    return f"{scheme}{separator}{Path(os.path.expanduser(place)).resolve().name}" if place else source
