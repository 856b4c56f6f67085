"""Tokens to shards (format.py has the format), with a state from which another writer can go on."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from ngptlab.config import Frozen
from ngptlab.data.shards.format import FORMATS, HEADER_BYTES, Format, Shard, file_sha256, header
from ngptlab.data.shards.manifest import check_digest, check_size, damaged
from ngptlab.disk import create, naming, open_regular, sync, update
from ngptlab.errors import DataError

PIECE_BYTES = 1 << 18


if TYPE_CHECKING:
    from hashlib import _Hash


class WriterState(Frozen):
    """What a writer has put on the disk."""

    shards: tuple[Shard, ...] = ()
    """Finished files."""
    tokens: int = 0
    """Tokens in the unfinished file after them; 0: it isn't begun."""
    max_token: int = 0
    """The largest token in the unfinished file."""
    sha256: str = ""
    """SHA-256 of the unfinished file's tokens as they are stored, without the header."""


class ShardWriter:
    """Writes tokens into `{split}_000000.bin`, `{split}_000001.bin`, ..., all of `shard_tokens` but the last.

    A context manager. Given the `state` of another writer, it goes on from there in the same folder, and overwrites
    what was written later. After it, `shards` has a record of each file, in order. Without tokens there is no file. A
    file is on the disk (fsync) when its record is made. An exception leaves the last file without its count, and
    `TokenStream` refuses that file.

    Raises:
        DataError: on opening, if a file of `state` is missing, or isn't as it was written.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        *,
        form: Format = FORMATS[0],
        shard_tokens: int = 100_000_000,
        state: WriterState | None = None,
    ) -> None:
        assert 0 < shard_tokens < 2**31, shard_tokens  # the header counts in int32
        self.shards: list[Shard] = []
        self._form = form
        self._folder, self._split, self._shard_tokens = Path(folder), split, shard_tokens
        self._file: BinaryIO | None = None
        self._tokens = 0
        self._max_token = 0
        self._digest = hashlib.sha256()
        if state:
            self._take_up(state)

    def state(self) -> WriterState:
        """The writer's state. Everything written before is on the disk when this returns."""
        if self._file is None:
            return WriterState(shards=tuple(self.shards))
        with naming(self._path(), self._file_bytes()):
            sync(self._file)
        return WriterState(
            shards=tuple(self.shards),
            tokens=self._tokens,
            max_token=self._max_token,
            sha256=self._digest.hexdigest(),
        )

    def __enter__(self) -> Self:
        if self._tokens:
            self._file = update(self._path())
            self._file.truncate(HEADER_BYTES + self._form.token_bytes * self._tokens)
            self._file.seek(0, os.SEEK_END)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        if kind is None:
            self._finish(self._file)
        else:
            # Closing tries to write the rest once more, which fails on a full disk.
            with contextlib.suppress(OSError):
                self._file.close()

    def write(self, tokens: npt.NDArray[np.integer]) -> None:
        """Append tokens (any integer dtype, shape [N]).

        Raises:
            DataError: a token doesn't fit the format.
        """
        most = 2 ** (8 * self._form.token_bytes) - 1
        if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) <= most:
            raise DataError(
                f"tokens {tokens.min()}..{tokens.max()} don't fit a shard; its tokens are 0..{most}"
            )
        while len(tokens):
            file = self._file or self._begin()
            piece = tokens[: self._shard_tokens - self._tokens]
            stored = np.ascontiguousarray(piece, dtype=f"<u{self._form.token_bytes}").data
            with naming(self._path(), len(stored.cast("B"))):
                file.write(stored)
            self._digest.update(stored)
            self._tokens += len(piece)
            self._max_token = max(self._max_token, int(piece.max()))
            tokens = tokens[len(piece) :]
            if self._tokens == self._shard_tokens:
                self._finish(file)

    def _take_up(self, state: WriterState) -> None:
        """Check that the files of `state` are as they were written. Changes no file."""
        for shard in state.shards:
            check_size(self._folder, shard, self._remedy)
            check_digest(self._folder, shard, self._remedy)
        self.shards += state.shards
        if not state.tokens:
            return
        path, size = self._path(), self._form.token_bytes * state.tokens
        digest, there = _tokens_digest(path, size, self._remedy)
        if there < size:
            raise damaged(
                path, f"is truncated, {there} bytes of tokens where {size} were written", self._remedy
            )
        if digest.hexdigest() != state.sha256:
            raise damaged(
                path, f"has changed, its first {state.tokens} tokens are not those written", self._remedy
            )
        self._tokens, self._max_token, self._digest = state.tokens, state.max_token, digest

    @property
    def _remedy(self) -> str:
        return f"delete the folder {self._folder} to begin again"

    def _begin(self) -> BinaryIO:
        self._tokens = self._max_token = 0
        self._digest = hashlib.sha256()
        self._file = create(self._path())
        self._file.write(header(self._form, 0))
        return self._file

    def _path(self) -> Path:
        return self._folder / f"{self._split}_{len(self.shards):06d}.bin"

    def _file_bytes(self) -> int:
        return HEADER_BYTES + self._form.token_bytes * self._tokens

    def _finish(self, file: BinaryIO) -> None:
        self._file, path = None, self._path()
        with naming(path, self._file_bytes()), file:  # closed even where the disk is full
            file.seek(0)
            file.write(header(self._form, self._tokens))
            sync(file)
            size = os.fstat(file.fileno()).st_size
        written, _ = _tokens_digest(path, size - HEADER_BYTES, self._remedy)
        if written.digest() != self._digest.digest():
            raise damaged(path, "holds other tokens than were written", self._remedy)
        # The file is read again for its digest, because the header comes first but its count was known last.
        digest = file_sha256(path)
        self.shards.append(
            Shard(file=path.name, sha256=digest, bytes=size, tokens=self._tokens, max_token=self._max_token)
        )


def _tokens_digest(path: Path, size: int, remedy: str) -> tuple[_Hash, int]:
    """SHA-256 of the first `size` bytes of an unfinished file's tokens, and how many of these bytes there are.

    Raises:
        DataError: the file can't be read.
    """
    digest, there = hashlib.sha256(), 0
    try:
        with open_regular(path) as file:
            file.seek(HEADER_BYTES)
            while piece := file.read(min(PIECE_BYTES, size - there)):
                digest.update(piece)
                there += len(piece)
    except OSError as error:
        raise damaged(path, f"can't be read ({error.strerror})", remedy) from None
    return digest, there
