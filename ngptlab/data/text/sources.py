"""Where text comes from: documents one at a time, in an order that depends on names only.

`stdlib` is the running Python's own library source: always there, offline. `text:PATH` is a file or a folder (files.py).
`hf:DATASET` is a data set as the `datasets` library streams it (dataset_stream.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from ngptlab.data.text.dataset_stream import DatasetStream
from ngptlab.data.text.files import ADVICE, Files
from ngptlab.data.text.formats import TEXT_COLUMN, Document
from ngptlab.errors import DataError, nearest

__all__ = ["Document", "Source", "documents", "find", "fingerprint"]


class Source(Protocol):
    """Documents in parts, each of which can be read by itself: the files of a folder, say."""

    @property
    def label(self) -> str:
        """Name of the source in manifests, the same on every machine."""
        ...

    @property
    def num_parts(self) -> int:
        """Number of parts."""
        ...

    def read(self, part: int) -> Iterator[Document]:
        """The documents of a part, always the same in the same order. One that can't be used has a `fault`.

        Holds one document in memory at a time. A null text is no document.

        Raises:
            DataError: the part can't be read or holds no text.
        """
        ...

    def fingerprint(self) -> str:
        """A digest that is found without reading the text. While it stays the same, so do the tokens of the text.

        Raises:
            DataError: the source is gone.
        """
        ...

    def share_read(self) -> float:
        """Fraction of the source, 0 to 1, that lies before the place that the latest `read` has reached; an estimate."""
        ...


def find(source: str, *, column: str = TEXT_COLUMN, split: str = "", revision: str = "") -> Source:
    """The source of that name: `stdlib`, `text:PATH` or `hf:DATASET[:CONFIG]`.

    Args:
        column: column of tables, or key of JSON lines, that holds the text.
        split, revision: split and revision of a data set. Empty: `train` and the newest commit.

    Raises:
        DataError: the name is unknown; the place is missing or has no matching file; or as for `DatasetStream`.
    """
    scheme, _, place = source.partition(":")
    if scheme == "hf":
        return DatasetStream(place, column=column, split=split or "train", revision=revision)
    if split or revision:
        raise DataError(f"{source} has no splits and no revisions; leave out {split or revision!r}")
    if source == "stdlib":
        return Files()
    if scheme == "text" and place:
        return Files(place, column=column)
    hint = nearest(scheme, ("stdlib", "text", "shards"))
    if Path(source).exists():
        hint = f"did you mean 'text:{source}'?"
    problem = "names no path" if scheme == "text" else f"is unknown, {hint}"
    raise DataError(f"data.source {source!r} {problem}; {ADVICE}")


def documents(source: str) -> Iterator[Document]:
    """Every document of a source, part after part.

    Raises:
        DataError: as for `find`, at once; as for `Source.read`, and for a document that can't be used, when reached.
    """
    return usable(find(source))


def usable(source: Source) -> Iterator[Document]:
    """The documents of all parts.

    Raises:
        DataError: as for `Source.read`, and for a document that can't be used.
    """
    for part in range(source.num_parts):
        for document in source.read(part):
            if document.fault:
                raise DataError(document.fault)
            yield document


def fingerprint(source: str) -> str:
    """See `Source.fingerprint`."""
    return find(source).fingerprint()
