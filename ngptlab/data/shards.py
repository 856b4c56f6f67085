"""Tokens on disk: the `.bin` shards of llm.c and modded-nanogpt, so that anybody's existing ones can be read.

A shard is 256 little-endian int32 (magic, version, number of tokens, zeros), then the tokens, little-endian
uint16. Among them, an end-of-text token stands before every document.
"""

from __future__ import annotations

import hashlib
import mmap
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ngptlab import disk
from ngptlab.config import Frozen
from ngptlab.errors import DataError

MAGIC = 20240520
VERSION = 1
HEADER_BYTES = 256 * 4
TOKEN_BYTES = 2
SCAN_TOKENS = 1 << 20
MAPPED_BYTES = 1 << 26  # of files, mapped at most
AROUND_BYTES = 1 << 16  # Linux maps so much around a byte that is read


class Shard(Frozen):
    """What is known of one file."""

    file: str
    """Name within its folder."""
    sha256: str
    """Of the whole file, header included."""
    bytes: int
    """Size of the whole file."""
    tokens: int
    """Number of tokens."""
    max_token: int
    """The largest token."""


def file_sha256(path: Path) -> str:
    """Digest of a file, in hex."""
    with disk.open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class TokenStream:
    """A read-only, memory-mapped concatenation of shards. May be empty.

    Raises:
        DataError: on opening, if a file is missing, is no shard, or its length is not what its header says.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._pages = [_map(Path(path)) for path in paths]
        self._shards = [np.frombuffer(raw, dtype="<u2", offset=HEADER_BYTES) for raw in self._pages]
        self._mapped_bytes = 0
        self._starts = list(accumulate((len(shard) for shard in self._shards), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def window(self, start: int, length: int) -> npt.NDArray[np.int64]:
        """A copy of tokens start .. start + length, across files where need be. Shape [length].

        Raises:
            IndexError: the window reaches outside the stream.
        """
        if not 0 <= start <= start + length <= len(self):
            raise IndexError(f"tokens {start}..{start + length} of a stream of {len(self)}")
        tokens = np.empty(length, dtype=np.int64)
        filled, shard = 0, bisect_right(self._starts, start) - 1
        while filled < length:
            offset = start + filled - self._starts[shard]
            piece = self._shards[shard][offset : offset + length - filled]
            tokens[filled : filled + len(piece)] = piece
            filled, shard = filled + len(piece), shard + 1
            self._mapped_bytes += piece.nbytes + AROUND_BYTES
        if self._mapped_bytes > MAPPED_BYTES:
            self._release()
        return tokens

    def _release(self) -> None:
        """Let go of the pages that were read, so that a process does not seem to grow as large as its corpus."""
        for pages in self._pages:
            pages.madvise(mmap.MADV_DONTNEED)  # they stay in the system's cache
        self._mapped_bytes = 0

    def documents(self, min_tokens: int, end_of_text: int) -> Iterator[npt.NDArray[np.int64]]:
        """Documents of at least `min_tokens` tokens, in order, without their end-of-text. Shape [N] each.

        Tokens before the first end-of-text are the rest of a document that begins elsewhere: left out.
        Holds no more than the largest document, and a fixed piece of the stream, in memory.
        """
        start = None
        for end in self._boundaries(end_of_text):
            if start is not None and end - start >= min_tokens:
                yield self.window(start, end - start)
            start = end + 1

    def _boundaries(self, end_of_text: int) -> Iterator[int]:
        """Positions of end-of-text tokens, then, if there was any, the end of the stream."""
        found = False
        for low in range(0, len(self), SCAN_TOKENS):
            piece = self.window(low, min(SCAN_TOKENS, len(self) - low))
            for offset in np.flatnonzero(piece == end_of_text):
                found = True
                yield low + int(offset)
        if found:
            yield len(self)


def _map(path: Path) -> mmap.mmap:
    try:
        size = path.stat().st_size
        with disk.open_regular(path) as file:
            raw = file.read(HEADER_BYTES)
    except OSError as error:
        raise DataError(f"{path}: the shard can't be read ({error.strerror}); is the path right?") from None
    if len(raw) < HEADER_BYTES:
        raise DataError(f"{path}: truncated, {size} bytes are less than a shard's header of {HEADER_BYTES}")
    magic, version, tokens = (int(value) for value in np.frombuffer(raw, dtype="<i4")[:3])
    if magic != MAGIC:
        raise DataError(
            f"{path}: not a shard, wrong magic number {magic} (a .bin shard of tokens begins with {MAGIC}; "
            "nanoGPT's .bin has no header)"
        )
    if version != VERSION:
        raise DataError(
            f"{path}: shard of version {version}, only version {VERSION} can be read; make it again"
        )
    expected = HEADER_BYTES + TOKEN_BYTES * tokens
    if size != expected:
        damage = "truncated" if size < expected else "longer than its header says"
        raise DataError(
            f"{path}: {damage}, {size} bytes where {tokens} tokens take {expected}; make or fetch it again"
        )
    with disk.open_regular(path) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
