"""Documents to split shards and their manifest: one pass over the source, in constant memory except for hashes.

split_rule.py has the rule of the splits; exact duplicates are dropped first. The rule needs the smallest and the largest
hash only where documents are few, so the first pass does without them. If documents turn out to be few, a second pass
follows, which is then short.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ngptlab.config import DataConfig
from ngptlab.data.prepare.bad_documents import BadDocuments, Note
from ngptlab.data.prepare.cut_document import CutDocument
from ngptlab.data.prepare.encode import Batch, encoded
from ngptlab.data.prepare.journal import Journal, clear, read_hashes, read_journal, write_journal
from ngptlab.data.prepare.split_rule import Extremes, SplitRule, check_two_documents
from ngptlab.data.prepare.split_writers import SplitWriters
from ngptlab.data.shards.format import shard_format
from ngptlab.data.shards.manifest import MANIFEST, Manifest, Split, write_manifest
from ngptlab.data.text import sources
from ngptlab.data.text.sources import Source
from ngptlab.data.tokens.tokenizer import Tokenizer
from ngptlab.disk import fsync_folder
from ngptlab.errors import DataError

SAVE_BYTES = 64 * 2**20
"""Bytes of text between two entries of the journal: at most so much is tokenized again after a kill."""
BATCH_BYTES = 1 << 20
"""Bytes of text that a worker gets at once: large against the cost of handing it over, small against memory."""
BATCH_FAULTS = 1000

Tell = Callable[[float, int, int], None]
"""Called with the fraction of the source that has been read, bytes of text done, tokens done."""


class Paused(Exception):
    """A preparation was asked to stop, and has kept what it did. This is no error."""


def prepare(
    data: DataConfig,
    tokens: Tokenizer,
    folder: Path,
    *,
    long_min_tokens: int,
    workers: int = 1,
    resumable: bool = False,
    tell: Tell | None = None,
    source: Source | None = None,
    skip_bad: bool = False,
    note: Note | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Manifest:
    """Fill an empty folder with the shards of `data` and a manifest, all of it on the disk when this returns.

    The bytes written depend neither on the number of workers nor, if resumable, on how often this was killed.

    Args:
        source: the source to read. None: `data.source`.
        skip_bad: whether documents that can't be used are left out, and counted in the manifest.
        note: called with a line about each of the first of those.
        stopped: called after every batch of documents of a resumable preparation; true ends it there.

    Raises:
        Paused: `stopped` gave true; what is done is in the journal.
        DataError: the source can't be read, has fewer than two different documents, or changed meanwhile; a document
            can't be used; the folder was begun from other text or with other settings, or holds other tokens than were
            written.
        OSError: the folder can't be written.
    """
    source = source or sources.find(data.source)
    before = source.fingerprint()
    rule = SplitRule(val_share=data.val_share, long_share=data.long_share, long_min_tokens=long_min_tokens)
    job = f"{before} {tokens.name} {tokens.end_of_text} {data.val_share} {data.long_share} {long_min_tokens}"
    work = _Work(source, tokens, rule, folder, workers, resumable, tell, stopped)
    journal = (read_journal(folder, job) if resumable else None) or Journal(job=job)
    bad = BadDocuments(skip=skip_bad, count=journal.left_out, note=note)
    if journal.extremes and journal.extremes.single:  # it was being cut when this was killed
        work = work.cut(journal.extremes.smallest, data.val_share)
    splits, found = work.write(journal, bad)
    if source.fingerprint() != before:
        raise DataError(f"{source.label}: changed while it was read; start again once nothing writes to it")
    if journal.extremes is None and found and found.single:
        with contextlib.suppress(ValueError):  # too short: the check below says so
            work = work.cut(found.smallest, data.val_share)
            journal = Journal(job=job, extremes=found, left_out=bad.count)
            splits, found = work.write(journal, bad)
    try:
        found = check_two_documents(found, source.label)
    except DataError:
        if resumable:
            clear(folder)
        raise
    if journal.extremes is None and not rule.fills(found):
        bad = BadDocuments(skip=skip_bad)  # counts the same documents anew
        splits, _ = work.write(Journal(job=job, extremes=found), bad)
    return finish_folder(folder, source, tokens, splits, bad.count, cut=work.sentence)


def finish_folder(
    folder: Path,
    source: Source,
    tokens: Tokenizer,
    splits: dict[str, Split],
    left_out: int,
    cut: str = "",
) -> Manifest:
    """Write the manifest, the last file of a folder of shards."""
    manifest = Manifest(
        source=source.label,
        tokenizer=tokens.name,
        vocab_size=tokens.vocab_size,
        end_of_text=tokens.end_of_text,
        splits=splits,
        left_out=left_out,
        cut=cut,
    )
    assert splits["train"].documents and splits["val"].documents, manifest
    write_manifest(manifest, folder / MANIFEST)
    fsync_folder(folder)
    return manifest


@dataclass(frozen=True)
class _Work:
    """The settings of both passes."""

    source: Source
    tokens: Tokenizer
    rule: SplitRule
    folder: Path
    workers: int
    resumable: bool
    tell: Tell | None
    stopped: Callable[[], bool]
    sentence: str = ""
    """What became of a text that was cut; empty where none was."""

    def cut(self, digest: str, share: float) -> _Work:
        """The same for the source's only document, of this SHA-256 in hex, cut by position.

        Raises:
            ValueError: it is too short.
        """
        cut = CutDocument(self.source, digest, share)
        rule = self.rule.model_copy(update={"held_out": cut.held_out.hex()})
        return replace(self, source=cut, rule=rule, sentence=cut.sentence)

    def write(self, journal: Journal, bad: BadDocuments) -> tuple[dict[str, Split], Extremes | None]:
        """Write all shards, from where the journal stands. Gives the splits, and the extremes of all documents if any."""
        hashes = read_hashes(self.folder, journal)
        if self.resumable:
            write_journal(self.folder, journal)  # first, because shards that it doesn't list are deleted next
        found, done, unsaved = journal.found, journal.documents, b""
        digest = hashlib.sha256(b"".join(hashes))
        batches = _batches(self.source, journal.position, set(hashes))
        with (
            SplitWriters(self.folder, journal.drafts, form=shard_format(self.tokens.vocab_size)) as writers,
            # Closed explicitly: after an error or Ctrl-C in here, a traceback would keep its threads going.
            contextlib.closing(encoded(batches, self.tokens, self.workers)) as encodings,
        ):
            saved_bytes = writers.text_bytes
            for batch, pieces in encodings:
                for fault in batch.faults:
                    bad.add(fault)
                for text, name, ids in zip(batch.texts, batch.digests, pieces, strict=True):
                    if isinstance(ids, str):
                        bad.add(ids)
                        continue
                    num_tokens = len(ids) - 1
                    found = (found or Extremes.of(name, num_tokens)).including(name, num_tokens)
                    writers.add(self.rule.place(name, num_tokens, journal.extremes), ids, len(text))
                writers.flush()
                done += len(pieces)
                if self.tell:
                    self.tell(self.source.share_read(), writers.text_bytes, writers.tokens)
                if not self.resumable:
                    continue
                unsaved += b"".join(batch.digests)
                stop = self.stopped()
                if stop or writers.text_bytes - saved_bytes >= SAVE_BYTES:
                    digest.update(unsaved)
                    entry = {
                        "found": found,
                        "position": batch.position,
                        "documents": done,
                        "hashes_sha256": digest.hexdigest(),
                        "left_out": bad.count,
                        "drafts": writers.states(),
                    }
                    write_journal(self.folder, journal.model_copy(update=entry), unsaved)
                    saved_bytes, unsaved = writers.text_bytes, b""
                if stop:
                    raise Paused(f"{done:,} documents are in {self.folder}")
        return writers.splits(), found


def _batches(source: Source, position: tuple[int, int], seen: set[bytes]) -> Iterator[Batch]:
    """Batches of distinct documents, from a position on. Of all memory, only `seen` grows with the corpus."""
    first, skipped = position
    batch, size = Batch([], [], position, [], []), 0
    for part in range(first, source.num_parts):
        for read in hashed_documents(source, part, skipped):
            if read.fault:
                batch.faults.append(read.fault)
            elif read.digest in seen:
                continue
            else:
                seen.add(read.digest)
                batch.texts.append(read.text)
                batch.digests.append(read.digest)
                batch.names.append(read.name)
                size += len(read.text)
            if size >= BATCH_BYTES or len(batch.faults) >= BATCH_FAULTS:
                yield batch._replace(position=(part, read.number))
                batch, size = Batch([], [], position, [], []), 0
        skipped = 0
    if batch.texts or batch.faults:
        yield batch._replace(position=(source.num_parts, 0))


class Read(NamedTuple):
    """A document as it is hashed and counted."""

    number: int
    """Number of the document in its part, from 1 on."""
    name: str
    """Names of the source and of the document in it: where to look for it."""
    text: bytes
    """The text in UTF-8."""
    digest: bytes
    """SHA-256 of the text."""
    fault: str
    """See `Document`."""


def hashed_documents(source: Source, part: int, skipped: int = 0) -> Iterator[Read]:
    """The documents of a part that aren't blank, the first `skipped` left out."""
    for number, document in enumerate(itertools.islice(source.read(part), skipped, None), start=skipped + 1):
        if document.text.strip() or document.fault:
            text = document.text.encode()
            name = f"{source.label}, {document.name}"
            yield Read(number, name, text, hashlib.sha256(text).digest(), document.fault)
