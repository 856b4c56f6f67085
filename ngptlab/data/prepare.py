"""Documents to split shards and their manifest: one pass over the source, constant memory but for hashes.

splits.py has the rule of the splits; exact duplicates are dropped first. The rule needs the smallest and the largest
hash only where documents are few, so the first pass does without. Should it turn out that they were few, they are
gone over once more: there are never many then.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ngptlab.config import DataConfig
from ngptlab.data import sources
from ngptlab.data.drafts import Drafts
from ngptlab.data.encode import Batch, encoded
from ngptlab.data.journal import Journal, clear, read_hashes, read_journal, write_journal
from ngptlab.data.manifest import MANIFEST, Manifest, Split, write_manifest
from ngptlab.data.sources import Source
from ngptlab.data.splits import Extremes, Rule, enough
from ngptlab.data.tokenize import Tokenizer
from ngptlab.disk import fsync_folder
from ngptlab.errors import DataError

SAVE_BYTES = 64 * 2**20
"""Text between two entries of the journal: at most so much is tokenized again after a kill."""
BATCH_BYTES = 1 << 20
"""Text that a worker gets at once: large against the cost of handing it over, small against memory."""

Tell = Callable[[float, int, int], None]
"""Called with the share of the source that is read, bytes of text done, tokens done."""


class Paused(Exception):
    """A preparation was asked to stop, and has kept what it did. Not an error of anybody's."""


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
    stopped: Callable[[], bool] = lambda: False,
) -> Manifest:
    """Fill an empty folder with the shards of `data` and a manifest, all of it on the disk when this returns.

    The bytes written depend neither on the number of workers nor, if resumable, on how often this was killed.

    Args:
        source: what is read; none: `data.source`.
        stopped: asked after every batch of documents whether to end here; for a resumable one.

    Raises:
        Paused: it was to end; what is done is in the journal.
        DataError: the source can't be read, has fewer than two different documents, or changed meanwhile; the
            folder was begun from other text or with other settings.
        OSError: the folder can't be written.
    """
    source = source or sources.find(data.source)
    before = source.fingerprint()
    rule = Rule(val_share=data.val_share, long_share=data.long_share, long_min_tokens=long_min_tokens)
    job = f"{before} {tokens.name} {tokens.end_of_text} {data.val_share} {data.long_share} {long_min_tokens}"
    work = _Work(source, tokens, rule, folder, workers, resumable, tell, stopped)
    journal = (read_journal(folder, job) if resumable else None) or Journal(job=job)
    splits, found = work.write(journal)
    if source.fingerprint() != before:
        raise DataError(f"{source.label}: changed while it was read; start again once nothing writes to it")
    try:
        found = enough(found, source.label)
    except DataError:
        if resumable:
            clear(folder)
        raise
    if journal.extremes is None and not rule.fills(found):
        splits, _ = work.write(Journal(job=job, extremes=found))
    return finish(folder, source, tokens, splits)


def finish(folder: Path, source: Source, tokens: Tokenizer, splits: dict[str, Split]) -> Manifest:
    """Write the manifest, the last thing that a folder of shards is given."""
    manifest = Manifest(
        source=source.label,
        tokenizer=tokens.name,
        vocab_size=tokens.vocab_size,
        end_of_text=tokens.end_of_text,
        splits=splits,
    )
    assert splits["train"].documents and splits["val"].documents, manifest
    write_manifest(manifest, folder / MANIFEST)
    fsync_folder(folder)
    return manifest


@dataclass(frozen=True)
class _Work:
    """What stays the same over both passes."""

    source: Source
    tokens: Tokenizer
    rule: Rule
    folder: Path
    workers: int
    resumable: bool
    tell: Tell | None
    stopped: Callable[[], bool]

    def write(self, journal: Journal) -> tuple[dict[str, Split], Extremes | None]:
        """Write all shards, from where the journal is. Also gives the extremes of all documents, none if there are none."""
        if self.resumable:
            write_journal(self.folder, journal)  # first, for what it doesn't know is deleted next
        found, done, unsaved = journal.found, journal.documents, b""
        batches = _batches(self.source, journal.position, set(read_hashes(self.folder, journal)))
        with (
            Drafts(self.folder, journal.drafts) as drafts,
            # Closed by name: with an error or Ctrl-C in here, its threads would go on for as long as there is a traceback.
            contextlib.closing(encoded(batches, self.tokens, self.workers)) as encodings,
        ):
            saved_bytes = drafts.text_bytes
            for batch, pieces in encodings:
                for text, digest, ids in zip(batch.texts, batch.digests, pieces, strict=True):
                    num_tokens = len(ids) - 1
                    found = (found or Extremes.of(digest, num_tokens)).including(digest, num_tokens)
                    drafts.add(self.rule.place(digest, num_tokens, journal.extremes), ids, len(text))
                drafts.flush()
                done += len(pieces)
                if self.tell:
                    self.tell(self.source.share_read(), drafts.text_bytes, drafts.tokens)
                if not self.resumable:
                    continue
                unsaved += b"".join(batch.digests)
                stop = self.stopped()
                if stop or drafts.text_bytes - saved_bytes >= SAVE_BYTES:
                    entry = {
                        "found": found,
                        "position": batch.position,
                        "documents": done,
                        "drafts": drafts.states(),
                    }
                    write_journal(self.folder, journal.model_copy(update=entry), unsaved)
                    saved_bytes, unsaved = drafts.text_bytes, b""
                if stop:
                    raise Paused(f"{done:,} documents are in {self.folder}")
        return drafts.splits(), found


def _batches(source: Source, position: tuple[int, int], seen: set[bytes]) -> Iterator[Batch]:
    """Documents that are no copies, from a position on. `seen` is all memory that grows with the corpus."""
    texts: list[bytes] = []
    digests: list[bytes] = []
    size, (first, skipped) = 0, position
    for part in range(first, source.num_parts):
        for number, text, digest in hashed(source, part, skipped):
            if digest in seen:
                continue
            seen.add(digest)
            texts.append(text)
            digests.append(digest)
            size += len(text)
            if size >= BATCH_BYTES:
                yield Batch(texts, digests, (part, number))
                texts, digests, size = [], [], 0
        skipped = 0
    if texts:
        yield Batch(texts, digests, (source.num_parts, 0))


def hashed(source: Source, part: int, skipped: int = 0) -> Iterator[tuple[int, bytes, bytes]]:
    """Number in the part from 1, UTF-8 and SHA-256 of each document that isn't blank, the first `skipped` left out."""
    for number, document in enumerate(itertools.islice(source.read(part), skipped, None), start=skipped + 1):
        if document.text.strip():
            text = document.text.encode()
            yield number, text, hashlib.sha256(text).digest()
