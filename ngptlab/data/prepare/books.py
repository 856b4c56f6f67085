"""Whole books as the long split of a folder of shards: PG19 through `datasets`, or text of the user's own.

Books are not divided between splits: every book is in the long split, as one document, however long it is. The files have
`long` in their names, by which `shards:DIR` finds them. They are written to a temporary folder and moved when all are whole.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ngptlab.data.shards.format import shard_format
from ngptlab.data.shards.hub import explained, hub_errors
from ngptlab.data.shards.make_manifest import extend_manifest
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.data.text import sources
from ngptlab.data.text.dataset_stream import stream_rows
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.disk import take_name, temporary_beside
from ngptlab.errors import DataError

CONVERTED = "refs/convert/parquet"
"""Revision at which the hub keeps a parquet copy of a data set that is loaded by a script, which `datasets` no longer runs."""

Tell = Callable[[int], None]
"""Called with bytes of text done."""


def add_books(texts: Iterator[str], label: str, folder: Path, *, vocabulary: str, tell: Tell) -> list[str]:
    """Write books to `folder` as files of the long split, add them to its manifest if it has one, and give their names.

    Blank texts and exact copies are left out. Existing files of that label stay as they are.

    Raises:
        DataError: there is no text; the folder holds tokens of another tokenizer. The folder is as it was.
        OSError: the folder can't be written.
    """
    name = f"{label}_long"
    if (folder / f"{name}_000000.bin").exists():
        files = sorted(path.name for path in folder.glob(f"{name}_*.bin"))
    else:
        # Raises where the folder has another tokenizer: before the work, not after it.
        extend_manifest(folder, {}, vocabulary)
        files = _write(texts, name, folder, vocabulary, tell)
    extend_manifest(folder, {"long": files}, vocabulary)
    return files


def _write(texts: Iterator[str], name: str, folder: Path, vocabulary: str, tell: Tell) -> list[str]:
    tokens = tokenizer(vocabulary)
    temporary = temporary_beside(folder / name)
    temporary.mkdir(parents=True)
    text_bytes = 0
    try:
        with ShardWriter(temporary, name, form=shard_format(tokens.vocab_size)) as writer:
            for text in _distinct(texts):
                writer.write(np.array([tokens.end_of_text]))
                writer.write(tokens.encode(text))
                text_bytes += len(text.encode())
                tell(text_bytes)
        if not writer.shards:
            raise DataError(f"{name}: no text in any book; give others")
        # From last to first: even after a kill, the first file is there only where all are.
        for shard in reversed(writer.shards):
            take_name(temporary / shard.file, folder / shard.file)
        return [shard.file for shard in writer.shards]
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _distinct(texts: Iterator[str]) -> Iterator[str]:
    seen: set[bytes] = set()
    for text in texts:
        digest = hashlib.sha256(text.encode()).digest()
        if text.strip() and digest not in seen:
            seen.add(digest)
            yield text


def own_books(place: Path) -> tuple[Iterator[str], str]:
    """Texts of a file or folder, as `text:PATH` reads them, and a label that changes with them.

    Raises:
        DataError: it isn't there or holds no text (at once); a file can't be read (when reached).
    """
    source = f"text:{place}"
    label = f"books-{sources.fingerprint(source)[:8]}"
    return (document.text for document in sources.documents(source)), label


def pg19(split: str, *, repository: str, revision: str) -> Iterator[str]:
    """Books of a split of PG19, as they arrive; an empty revision means the newest that can be read.

    Raises:
        DataError: `datasets` is not installed, or the hub doesn't give the books, which may show only as they are read.
    """
    what = f"{repository}, split {split}"
    mendable: tuple[type[Exception], ...] = (*hub_errors(), RuntimeError)
    try:
        for row in _streamed(repository, split, revision):
            if "text" in row and row["text"] is None:  # no text, no document
                continue
            if not isinstance(row.get("text"), str):
                raise DataError(f"{what}: has columns {', '.join(row)}, no string text; give another --repo")
            yield row["text"]
    except DataError:
        raise
    except mendable as error:
        raise explained(error, what, kept="the same command begins anew") from None


def _streamed(repository: str, split: str, revision: str) -> Any:
    try:
        return stream_rows(repository, split=split, revision=revision, what=repository)
    except RuntimeError as error:
        # The converted copy is of the newest revision alone.
        if revision or "script" not in str(error):
            raise
    try:
        return stream_rows(repository, split=split, revision=CONVERTED, what=repository)
    except OSError:
        raise DataError(
            f"{repository}: its files come by a script, which datasets no longer runs, and there is no copy under {CONVERTED}; "
            "give a copy in parquet as --repo, or text files to `ngptlab data get books`"
        ) from None
