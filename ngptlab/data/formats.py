"""Documents of one file, by its kind. Holds one document, one chunk or one batch of rows in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import zstandard

from ngptlab.errors import DataError

if TYPE_CHECKING:
    import pyarrow

WHOLE_FILES = (".txt", ".md", ".py")
LINE_FILES = (".jsonl", ".jsonl.zst")
TABLE_FILES = (".parquet",)
SUFFIXES = (*WHOLE_FILES, *LINE_FILES, *TABLE_FILES)
KINDS = " ".join(SUFFIXES)

TEXT_COLUMN = "text"
ZST_READ_BYTES = 1 << 14
ROWS = 256  # of a table at a time

Told = Callable[[int], None]
"""Called with the number of bytes of the file that were read since the last call."""


class Document(NamedTuple):
    """One text and where it came from."""

    name: str
    """Path below the source's root, with `:LINE` or `:ROW` where a file holds several."""
    text: str
    """Unicode that UTF-8 can encode."""


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a file's name ends so, in small letters or large."""
    return path.name.lower().endswith(suffixes)


def read_file(file: Path, name: str, column: str, told: Told, errors: str = "strict") -> Iterator[Document]:
    """The documents of a file, in its order. Text is as stored: line ends are not translated.

    Args:
        name: of the file, as documents shall have it.
        column: of tables and of lines; other files have none.
        errors: how a whole file is decoded, as for `bytes.decode`.

    Raises:
        DataError: the file can't be decoded, is cut off, or has no such column of strings.
        OSError: it can't be read.
    """
    if has_suffix(file, WHOLE_FILES):
        raw = file.read_bytes()
        told(len(raw))
        yield Document(name, _decode(raw, str(file), errors))
    elif has_suffix(file, TABLE_FILES):
        yield from _read_rows(file, name, column, told)
    else:
        yield from _read_lines(file, name, column, told)


def _read_rows(file: Path, name: str, column: str, told: Told) -> Iterator[Document]:
    try:
        import pyarrow
        from pyarrow import parquet  # late: an extra, and slow to load
    except ImportError:
        raise DataError(f"{file}: reading parquet needs pyarrow; pip install 'ngptlab[data]'") from None
    try:
        # Without threads and read-ahead, memory is one row group's worth of the column.
        with parquet.ParquetFile(file, pre_buffer=False) as table:
            _check_column(table.schema_arrow, column, file)
            size, rows, done = file.stat().st_size, table.metadata.num_rows, 0
            for batch in table.iter_batches(ROWS, columns=[column], use_threads=False):
                for row, text in enumerate(batch.column(0).to_pylist(), start=done + 1):
                    if text is not None:  # no text, no document
                        yield Document(f"{name}:{row}", text)
                told(size * (done + len(batch)) // rows - size * done // rows)
                done += len(batch)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        why = " ".join(str(error).split())
        raise DataError(f"{file}: damaged parquet ({why}); fetch or make it again") from None


def _check_column(schema: pyarrow.Schema, column: str, file: Path) -> None:
    from pyarrow import types

    strings = (types.is_string, types.is_large_string, types.is_string_view)
    fitting = [field.name for field in schema if any(check(field.type) for check in strings)]
    if column not in fitting:
        problem = (
            f"column {column!r} holds {schema.field(column).type}"
            if column in schema.names
            else f"no column {column!r}"
        )
        raise DataError(
            f"{file}: {problem}; columns of text here: {', '.join(fitting) or 'none'}; name one with --column"
        )


def _read_lines(file: Path, name: str, column: str, told: Told) -> Iterator[Document]:
    chunks = _decompressed(file, told) if has_suffix(file, (".zst",)) else _raw(file, told)
    for number, line in enumerate(_split(chunks), start=1):
        if line.strip():
            yield Document(f"{name}:{number}", _text_of(line, column, f"{file}, line {number}"))


def _text_of(line: bytes, column: str, place: str) -> str:
    decoded = _decode(line, place).removeprefix("\ufeff")
    try:
        record = json.loads(decoded)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{place}: not JSON ({error}); each line must be an object with a {column!r}"
        ) from None
    if not isinstance(record, dict) or not isinstance(record.get(column), str):
        held = f"keys {sorted(record)}"[:80] if isinstance(record, dict) else type(record).__name__
        raise DataError(f"{place}: holds {held}; each line must be an object with a string {column!r}")
    text: str = record[column]
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # JSON can spell half of a surrogate pair, which is no character and has no UTF-8.
        raise DataError(
            f"{place}: {column!r} is not valid Unicode ({error.reason}); mend or drop the line"
        ) from None
    return text


def _decode(raw: bytes, place: str, errors: str = "strict") -> str:
    try:
        return raw.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place}: not UTF-8 (byte {error.start}: {error.reason}); convert it or leave it out"
        ) from None


def _raw(file: Path, told: Told) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            told(len(chunk))
            yield chunk


def _decompressed(file: Path, told: Told) -> Iterator[bytes]:
    # Not `stream_reader`: it takes a file cut off inside a frame for a whole one.
    try:
        with file.open("rb") as stream:
            decompressor, ended = None, False
            while raw := stream.read(ZST_READ_BYTES):
                told(len(raw))
                while raw:
                    if decompressor is None:
                        # `zstd --long=31` declares a window beyond the library's default limit.
                        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
                    yield decompressor.decompress(raw)
                    ended, raw = decompressor.eof, decompressor.unused_data
                    decompressor = None if ended else decompressor
    except zstandard.ZstdError as error:
        raise DataError(f"{file}: damaged zstd data ({error}); fetch or compress it again") from None
    if not ended:
        raise DataError(f"{file}: truncated, its zstd data ends in the middle; fetch or compress it again")


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    pending: list[bytes] = []  # joined once a line, so that a line over many chunks costs linear time
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        pending.append(first)
        for part in others:
            yield b"".join(pending)
            pending = [part]
    yield b"".join(pending)
