"""Tokens to shards (shards.py has the format), with a state from which another writer can go on."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt

from ngptlab.config import Frozen
from ngptlab.data.shards import HEADER_BYTES, MAGIC, TOKEN_BYTES, VERSION, Shard, file_sha256
from ngptlab.disk import create, naming, update
from ngptlab.errors import DataError


class WriterState(Frozen):
    """What a writer has put on the disk."""

    shards: tuple[Shard, ...] = ()
    """Finished files."""
    tokens: int = 0
    """Tokens in the file after them; 0: it isn't begun."""
    max_token: int = 0
    """The largest of those."""


class ShardWriter:
    """Writes tokens into `{split}_000000.bin`, `{split}_000001.bin`, ..., all of `shard_tokens` but the last.

    A context manager. Given the `state` of another one, it goes on from there in the same folder: what was written
    later is written again. After it, `shards` has a record of each file, in order; no token, no file. A file is on
    the disk (fsync) when its record is made. An exception leaves the last file without its count, which
    `TokenStream` refuses.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        *,
        shard_tokens: int = 100_000_000,
        state: WriterState | None = None,
    ) -> None:
        assert 0 < shard_tokens < 2**31, shard_tokens  # the header counts in int32
        self.shards: list[Shard] = []
        self._folder, self._split, self._shard_tokens = Path(folder), split, shard_tokens
        self._file: BinaryIO | None = None
        self._tokens = 0
        self._max_token = 0
        if state:
            self.shards += state.shards
            if state.tokens:
                self._file = update(self._path())
                self._file.truncate(HEADER_BYTES + TOKEN_BYTES * state.tokens)
                self._file.seek(0, os.SEEK_END)
                self._tokens, self._max_token = state.tokens, state.max_token

    def state(self) -> WriterState:
        """Where the writer is. Everything before it is on the disk when this returns."""
        if self._file is None:
            return WriterState(shards=tuple(self.shards))
        with naming(self._path(), self._file_bytes()):
            self._file.flush()
            os.fsync(self._file.fileno())
        return WriterState(shards=tuple(self.shards), tokens=self._tokens, max_token=self._max_token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        if kind is None:
            self._finish(self._file)
        else:
            with contextlib.suppress(OSError):  # of a full disk, upon which it tries what is left once more
                self._file.close()

    def write(self, tokens: npt.NDArray[np.integer]) -> None:
        """Append tokens (any integer dtype, shape [N]).

        Raises:
            DataError: a token doesn't fit 16 bits.
        """
        if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < 2**16:
            raise DataError(
                f"tokens {tokens.min()}..{tokens.max()} don't fit a shard; its tokens are 0..65535"
            )
        while len(tokens):
            file = self._file or self._begin()
            piece = tokens[: self._shard_tokens - self._tokens]
            with naming(self._path(), piece.size * TOKEN_BYTES):
                file.write(np.ascontiguousarray(piece, dtype="<u2").data)
            self._tokens += len(piece)
            self._max_token = max(self._max_token, int(piece.max()))
            tokens = tokens[len(piece) :]
            if self._tokens == self._shard_tokens:
                self._finish(file)

    def _begin(self) -> BinaryIO:
        self._tokens = self._max_token = 0
        self._file = create(self._path())
        self._file.write(_header(0))
        return self._file

    def _path(self) -> Path:
        return self._folder / f"{self._split}_{len(self.shards):06d}.bin"

    def _file_bytes(self) -> int:
        return HEADER_BYTES + TOKEN_BYTES * self._tokens

    def _finish(self, file: BinaryIO) -> None:
        self._file, path = None, self._path()
        with naming(path, self._file_bytes()), file:  # closed even where the disk is full
            file.seek(0)
            file.write(_header(self._tokens))
            file.flush()
            os.fsync(file.fileno())
            size = os.fstat(file.fileno()).st_size
        # Read again for the digest: the header comes first and its count was known last.
        digest = file_sha256(path)
        self.shards.append(
            Shard(file=path.name, sha256=digest, bytes=size, tokens=self._tokens, max_token=self._max_token)
        )


def _header(tokens: int) -> bytes:
    header = np.zeros(HEADER_BYTES // 4, dtype="<i4")
    header[:3] = MAGIC, VERSION, tokens
    return header.tobytes()
