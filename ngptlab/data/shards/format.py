"""Tokens on disk: the `.bin` shards of llm.c and modded-nanogpt, so that anybody's existing ones can be read.

A shard is 256 little-endian int32 (magic, version, number of tokens, zeros), then the tokens, little-endian. Magic and
version say whether a token has 16 bits or 32 (`FORMATS`). Among them, an end-of-text token stands before every document.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ngptlab import disk
from ngptlab.config import Frozen
from ngptlab.disk import open_regular
from ngptlab.errors import DataError


class Format(NamedTuple):
    """How a shard begins, and how wide its tokens are."""

    magic: int
    version: int
    token_bytes: int


FORMATS = (Format(20240520, 1, 2), Format(20240801, 7, 4))
"""llm.c's: of GPT-2's tokens, and of Llama-3's."""
EVALUATION_MAGIC = 20240522
"""Begins llm.c's evaluations, `hellaswag_val.bin`: questions and endings, not text."""
HEADER_BYTES = 256 * 4
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


def shard_format(vocab_size: int) -> Format:
    """The format in which the tokens of a vocabulary are stored: 16 bits where they fit."""
    return next(form for form in FORMATS if vocab_size <= 2 ** (8 * form.token_bytes))


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """The numbers in which the tokens of a vocabulary are stored."""
    return np.dtype(f"<u{shard_format(vocab_size).token_bytes}")


def header(form: Format, tokens: int) -> bytes:
    """The beginning of a shard of so many tokens."""
    numbers = np.zeros(HEADER_BYTES // 4, dtype="<i4")
    numbers[:3] = form.magic, form.version, tokens
    return numbers.tobytes()


def is_evaluation(path: Path) -> bool:
    """Whether a file is one of llm.c's evaluations; no where it can't be read."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            numbers = np.frombuffer(file.read(HEADER_BYTES), dtype="<i4", count=4)
    except (OSError, ValueError):  # too short is no evaluation, either
        return False
    # One bit makes this number of a shard's. Such a damaged shard must not be passed over; its length tells.
    lengths = [HEADER_BYTES + form.token_bytes * int(numbers[2]) for form in FORMATS]
    return bool(numbers[0] == EVALUATION_MAGIC and numbers[3] > 0) and size not in lengths


def file_sha256(path: Path) -> str:
    """Digest of a regular file, in hex."""
    with disk.open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _map(path: Path) -> tuple[mmap.mmap, Format]:
    try:
        with disk.open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            form = _checked_format(path, file.read(HEADER_BYTES), size)
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), form
    except OSError as error:
        raise DataError(f"{path}: the shard can't be read ({error.strerror}); is the path right?") from None


def _checked_format(path: Path, raw: bytes, size: int) -> Format:
    """The format of a file of `size` bytes that begins with `raw`.

    Raises:
        DataError: it is no shard, or its length is not what its header says.
    """
    if len(raw) < HEADER_BYTES:
        raise DataError(f"{path}: truncated, {size} bytes are less than a shard's header of {HEADER_BYTES}")
    magic, version, tokens = (int(value) for value in np.frombuffer(raw, dtype="<i4")[:3])
    form = next((form for form in FORMATS if form.magic == magic), None)
    if form is None:
        known = " (that of llm.c's evaluations, which are no text)" if magic == EVALUATION_MAGIC else ""
        read = " or ".join(f"{form.magic} ({8 * form.token_bytes} bits a token)" for form in FORMATS)
        raise DataError(
            f"{path}: not a shard, wrong magic number {magic}{known}; a .bin shard of tokens begins with {read}, "
            "and nanoGPT's .bin has no header"
        )
    if version != form.version:
        raise DataError(
            f"{path}: shard of version {version}, with magic number {magic} only version {form.version} can be read; "
            "make it again"
        )
    expected = HEADER_BYTES + form.token_bytes * tokens
    if size != expected:
        damage = "truncated" if size < expected else "longer than its header says"
        raise DataError(
            f"{path}: {damage}, {size} bytes where {tokens} tokens take {expected}; make or fetch it again"
        )
    return form
