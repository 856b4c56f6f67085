"""The tokens of shards, read as one stream."""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ngptlab import disk
from ngptlab.data.shards.format import HEADER_BYTES, Format, checked_format
from ngptlab.errors import DataError

SCAN_TOKENS = 1 << 20
MAPPED_BYTES = 1 << 26  # of files in memory, after which they are released
AROUND_BYTES = 1 << 16  # Linux maps so much around a byte that is read


class TokenStream:
    """A read-only, memory-mapped concatenation of shards, each of 16 or of 32 bits a token. May be empty.

    Raises:
        DataError: on opening, if a file is missing, is no shard, or its length is not what its header says.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        mapped = [_map(Path(path)) for path in paths]
        self._pages = [pages for pages, _ in mapped]
        self._shards = [
            np.frombuffer(pages, dtype=f"<u{form.token_bytes}", offset=HEADER_BYTES) for pages, form in mapped
        ]
        self._mapped_bytes = 0
        self._starts = list(accumulate((len(shard) for shard in self._shards), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def nbytes(self) -> int:
        """Bytes of all tokens on the disk."""
        return sum(shard.nbytes for shard in self._shards)

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
        """Release the pages that were read, so that a process does not seem to grow as large as its corpus."""
        for pages in self._pages:
            pages.madvise(mmap.MADV_DONTNEED)  # they stay in the system's cache
        self._mapped_bytes = 0

    def pieces(self) -> Iterator[npt.NDArray[np.int64]]:
        """All tokens in order, in pieces small enough for memory. Shape [N] each."""
        for low in range(0, len(self), SCAN_TOKENS):
            yield self.window(low, min(SCAN_TOKENS, len(self) - low))

    def documents(self, min_tokens: int, end_of_text: int) -> Iterator[npt.NDArray[np.int64]]:
        """Documents of at least `min_tokens` tokens, in order, without their end-of-text. Shape [N] each.

        Tokens before the first end-of-text are left out, because they belong to a document that begins elsewhere.
        Memory holds no more than the largest document and a fixed piece of the stream.
        """
        start = None
        for end in self._boundaries(end_of_text):
            if start is not None and end - start >= min_tokens:
                yield self.window(start, end - start)
            start = end + 1

    def _boundaries(self, end_of_text: int) -> Iterator[int]:
        """Positions of end-of-text tokens, then, if there was any, the end of the stream."""
        found, low = False, 0
        for piece in self.pieces():
            for offset in np.flatnonzero(piece == end_of_text):
                found = True
                yield low + int(offset)
            low += len(piece)
        if found:
            yield len(self)


def _map(path: Path) -> tuple[mmap.mmap, Format]:
    try:
        with disk.open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            form = checked_format(path, file.read(HEADER_BYTES), size)
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), form
    except OSError as error:
        raise DataError(f"{path}: the shard can't be read ({error.strerror}); is the path right?") from None
