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
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ngptlab.config import DataConfig
from ngptlab.data import sources
from ngptlab.data.encode import encoded
from ngptlab.data.journal import DraftState, Journal, Survey, read_journal, write_journal
from ngptlab.data.manifest import MANIFEST, SPLITS, Manifest, Split, fsync_folder, write_manifest
from ngptlab.data.tokenize import Tokenizer, Tokens
from ngptlab.data.writer import ShardWriter
from ngptlab.errors import DataError

SAVE_BYTES = 64 * 2**20
"""Text between two entries of the journal: at most so much is tokenized again after a kill."""


Tell = Callable[[int, int, int], None]
"""Called with bytes of text done, bytes of text in all (copies included), tokens done."""


def prepare(
    data: DataConfig,
    tokens: Tokenizer,
    folder: Path,
    *,
    long_min_tokens: int,
    workers: int = 1,
    resumable: bool = False,
    tell: Tell | None = None,
) -> Manifest:
    """Fill an empty folder with the shards of `data` and a manifest, all of it on the disk when this returns.

    The bytes written depend neither on the number of workers nor, if resumable, on how often this was killed.

    Raises:
        DataError: the source can't be read, has fewer than two different documents, or changed meanwhile; the
            folder was begun from other text or with other settings.
        OSError: the folder can't be written.
    """
    before = sources.fingerprint(data.source)
    job = f"{before} {tokens.name} {data.val_share} {data.long_share} {long_min_tokens}"
    journal = (read_journal(folder, job) if resumable else None) or Journal(
        job=job, survey=_survey(data.source)
    )
    with contextlib.ExitStack() as stack:
        drafts = {name: _Draft(folder, name, journal.drafts.get(name), stack) for name in SPLITS}
        done, saved_bytes = journal.documents, sum(draft.text_bytes for draft in drafts.values())
        if resumable:
            write_journal(folder, journal)
        # What is done already is read and hashed again, which is quick, so that its copies are known.
        rest = itertools.islice(_distinct(data.source), done, None)
        for text, digest, ids in encoded(rest, tokens, workers):
            draft = drafts[_place(digest, len(ids), data, journal.survey, long_min_tokens)]
            draft.add(text, ids, tokens.end_of_text)
            done += 1
            text_bytes = sum(draft.text_bytes for draft in drafts.values())
            if tell:
                tell(text_bytes, journal.survey.text_bytes, sum(draft.tokens for draft in drafts.values()))
            if resumable and text_bytes - saved_bytes >= SAVE_BYTES:
                states = {name: draft.state() for name, draft in drafts.items()}
                write_journal(folder, journal.model_copy(update={"documents": done, "drafts": states}))
                saved_bytes = text_bytes
    if sources.fingerprint(data.source) != before:
        raise DataError(f"{data.source}: changed while it was read; start again once nothing writes to it")
    manifest = Manifest(
        source=label(data.source),
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

    def __init__(
        self, folder: Path, split: str, state: DraftState | None, stack: contextlib.ExitStack
    ) -> None:
        state = state or DraftState()
        self.writer = stack.enter_context(ShardWriter(folder, split, state=state.writer))
        self.documents, self.tokens, self.text_bytes = state.documents, state.tokens, state.text_bytes

    def add(self, text: str, ids: Tokens, end_of_text: int) -> None:
        self.writer.write(np.array([end_of_text], dtype=np.uint16))
        self.writer.write(ids)
        self.documents += 1
        self.tokens += 1 + len(ids)
        self.text_bytes += len(text.encode())

    def state(self) -> DraftState:
        return DraftState(
            writer=self.writer.state(),
            documents=self.documents,
            tokens=self.tokens,
            text_bytes=self.text_bytes,
        )

    def split(self) -> Split:
        shards = self.writer.shards
        return Split(
            shards=tuple(shards),
            documents=self.documents,
            tokens=self.tokens,
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


def _survey(source: str) -> Survey:
    """First pass, over hashes only. A hash and its u are in the same order, so the extremes are u's too."""
    smallest = largest = None
    text_bytes = 0
    for text, digest in _hashed(source):
        text_bytes += len(text.encode())
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
    return Survey(smallest=smallest.hex(), largest=largest.hex(), text_bytes=text_bytes)


def _place(digest: bytes, num_tokens: int, data: DataConfig, survey: Survey, long_min_tokens: int) -> str:
    u = int.from_bytes(digest[:8], "big") / 2**64
    if digest.hex() == survey.smallest or (u < data.val_share and digest.hex() != survey.largest):
        return "val"
    is_long = u < data.val_share + data.long_share and num_tokens >= long_min_tokens
    return "long" if is_long and digest.hex() != survey.largest else "train"


def label(source: str) -> str:
    """A source without its folder, as manifests name it."""
    scheme, separator, place = source.partition(":")
    return f"{scheme}{separator}{Path(os.path.expanduser(place)).resolve().name}" if place else source
