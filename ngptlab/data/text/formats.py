"""Documents of one file, by its kind. Holds one document, one chunk or one batch of rows in memory at a time.

A file may be anybody's, so what is held has a bound: a few bytes may unpack to more than any memory.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import zstandard

from ngptlab import disk
from ngptlab.errors import DataError

if TYPE_CHECKING:
    import pyarrow

WHOLE_FILES = (".txt", ".md", ".py")
LINE_FILES = (".jsonl", ".jsonl.zst")
TABLE_FILES = (".parquet",)
NO_TEXT = (
    *(".gz", ".bz2", ".xz", ".zip", ".tar", ".tgz", ".7z", ".zst"),
    *(".bin", ".npy", ".npz", ".pt", ".pth", ".pkl", ".safetensors", ".arrow", ".h5", ".sqlite", ".db"),
    *(
        ".png",
        ".jpg",
        ".jpeg",
        ".gif",
        ".webp",
        ".svg",
        ".mp3",
        ".mp4",
        ".wav",
        ".pdf",
        ".doc",
        ".docx",
        ".epub",
        ".xlsx",
    ),
)
"""Suffixes of files that are no plain text, whatever stands in them. Files of all others are read as text, if they are UTF-8."""
SUFFIXES = (*WHOLE_FILES, *LINE_FILES, *TABLE_FILES)
KINDS = " ".join(SUFFIXES)

TEXT_COLUMN = "text"
DOCUMENT_BYTES = 256 << 20
"""Bytes of the largest document, or line with one. It is held in memory whole, and its tokens take some ten times as much."""
READ_BYTES = 1 << 20
ZST_READ_BYTES = 256  # which unpack to 8 MiB at most: 64 blocks of 4 bytes, each 128 KiB of one letter
ROWS = 256  # of a table at a time, at most
ROWS_BYTES = 64 << 20  # of text in the rows read at a time, at most, unless a single row has more
MOST_UNPACKED = 100
"""Largest ratio of unpacked to packed size of a column that holds more than a document. Text has a ratio of 10 at best."""
COLUMN_ADVICE = (
    "name one with --column, an option of `ngptlab data prepare`; a run reads the shards that it makes, "
    "--data.source shards:DIR"
)

Told = Callable[[int], None]
"""Called with the number of bytes of the file that were read since the last call."""


class Document(NamedTuple):
    """One text and where it came from, or what is wrong with it."""

    name: str
    """Path below the source's root, with `:LINE` or `:ROW` where a file holds several."""
    text: str
    """Unicode that UTF-8 can encode."""
    fault: str = ""
    """Why this document can't be used, with file and line; empty where it can. Documents after it can be used all the same."""


class Unusable(Exception):
    """One document can't be used; the message is its `fault`."""


def has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a file's name ends in one of the suffixes, in upper or lower case."""
    return path.name.lower().endswith(suffixes)


def read_file(file: Path, name: str, column: str, told: Told, errors: str = "strict") -> Iterator[Document]:
    """The documents of a file, in its order. Text is as stored: line ends are not translated.

    A line or a row whose text is null is no document.

    Args:
        name: the file's name, with which the names of its documents begin.
        column: column of tables, or key of JSON lines, that holds the text; other files have none.
        errors: how a whole file is decoded, as for `bytes.decode`.

    Raises:
        DataError: the file is damaged or cut off, or a table has no such column of strings.
        OSError: it can't be read.
    """
    if has_suffix(file, TABLE_FILES):
        yield from _read_rows(file, name, column, told)
    elif has_suffix(file, LINE_FILES):
        yield from _read_lines(file, name, column, told)
    else:
        yield from document(name, _read_whole, file, told, errors)


def document(name: str, read: Callable[..., str | None], *given: Any) -> Iterator[Document]:
    """The document whose text `read` gives; none where it gives None."""
    try:
        text = read(*given)
    except Unusable as error:
        yield Document(name, "", str(error))
    else:
        if text is not None:
            yield Document(name, text)


def too_long(place: str, size: int | None = None) -> Unusable:
    held = "more than" if size is None else f"{size} bytes, more than"
    return Unusable(f"{place}: has {held} the {DOCUMENT_BYTES} bytes that a document may have; split it")


def _read_whole(file: Path, told: Told, errors: str) -> str:
    try:
        raw = disk.read_bytes(file, limit=DOCUMENT_BYTES)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        size = file.stat().st_size
        told(size)
        raise too_long(str(file), size) from None
    told(len(raw))
    return _decode(raw, str(file), errors)


def _read_rows(file: Path, name: str, column: str, told: Told) -> Iterator[Document]:
    try:
        import pyarrow
        from pyarrow import parquet  # late: an extra, and slow to load
    except ImportError:
        raise DataError(f"{file}: reading parquet needs pyarrow; pip install 'ngptlab[data]'") from None
    disk.check_regular(file)
    try:
        # Without threads and read-ahead, memory is a page of the column and a batch of rows.
        with parquet.ParquetFile(file, pre_buffer=False) as table:
            _check_column(table.schema_arrow, column, file)
            size, rows, done = file.stat().st_size, table.metadata.num_rows, 0
            for group in range(table.metadata.num_row_groups):
                some = _rows_at_once(table.metadata.row_group(group), column, file)
                for batch in table.iter_batches(
                    some, row_groups=[group], columns=[column], use_threads=False
                ):
                    for row, value in enumerate(batch.column(0), start=done + 1):
                        yield from document(f"{name}:{row}", _text_of_row, value, f"{file}, row {row}")
                    told(size * (done + len(batch)) // rows - size * done // rows)
                    done += len(batch)
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        why = " ".join(str(error).split())
        raise DataError(f"{file}: damaged parquet ({why[:300]}); fetch or make it again") from None


def _rows_at_once(group: pyarrow.RowGroupMetaData, column: str, file: Path) -> int:
    """Number of rows to read at once, so few that they hold at most `ROWS_BYTES`: one long text may be in every row.

    Raises:
        DataError: the column unpacks to more than any text does.
    """
    chunks = [
        chunk
        for number in range(group.num_columns)
        if (chunk := group.column(number)).path_in_schema == column
    ]
    unpacked = max((chunk.total_uncompressed_size for chunk in chunks), default=0)
    packed = max((chunk.total_compressed_size for chunk in chunks), default=0)
    if unpacked > max(DOCUMENT_BYTES, MOST_UNPACKED * packed):
        raise DataError(
            f"{file}: its column {column!r} unpacks from {packed} to {unpacked} bytes, which no text does; leave it out"
        )
    return max(1, min(ROWS, ROWS_BYTES // max(1, unpacked)))


def _text_of_row(value: pyarrow.StringScalar, place: str) -> str | None:
    if not value.is_valid:
        return None
    if (size := value.as_buffer().size) > DOCUMENT_BYTES:
        raise too_long(place, size)
    try:
        text: str = value.as_py()
    except UnicodeDecodeError as error:
        raise Unusable(
            f"{place}: not UTF-8 (byte {error.start}: {error.reason}); mend or drop the row"
        ) from None
    return text


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
            f"{file}: {problem}; columns of text here: {', '.join(fitting) or 'none'}; {COLUMN_ADVICE}"
        )


def _read_lines(file: Path, name: str, column: str, told: Told) -> Iterator[Document]:
    chunks = _decompressed(file, told) if has_suffix(file, (".zst",)) else _raw(file, told)
    for number, line in enumerate(_split(chunks), start=1):
        if line is None or line.strip():
            yield from document(f"{name}:{number}", _text_of, line, column, f"{file}, line {number}")


def _text_of(line: bytes | None, column: str, place: str) -> str | None:
    if line is None:
        raise too_long(place)
    decoded = _decode(line, place).removeprefix("\ufeff")
    try:
        record = json.loads(decoded)
    except (ValueError, RecursionError, MemoryError) as error:
        why = str(error) or type(error).__name__
        raise Unusable(f"{place}: not JSON ({why}); each line must be an object with a {column!r}") from None
    if not isinstance(record, dict):
        held = type(record).__name__
        raise Unusable(f"{place}: holds {held}; each line must be an object with a string {column!r}")
    if column not in record:
        held = f"keys {sorted(record)}"[:80]
        raise Unusable(f"{place}: holds {held}, none is {column!r}; {COLUMN_ADVICE}")
    text = record[column]
    if text is None:
        return None
    if not isinstance(text, str):
        raise Unusable(
            f"{place}: {column!r} holds {type(text).__name__}; it must be a string, or null where there is no document"
        )
    return valid(text, f"{place}: {column!r}")


def valid(text: str, what: str) -> str:
    """The text, if UTF-8 can encode it.

    Raises:
        Unusable: UTF-8 can't encode it.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # JSON can spell half of a surrogate pair, which is no character and has no UTF-8.
        raise Unusable(f"{what} is not valid Unicode ({error.reason}); mend or drop it") from None
    return text


def _decode(raw: bytes, place: str, errors: str = "strict") -> str:
    try:
        return raw.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise Unusable(
            f"{place}: not UTF-8 (byte {error.start}: {error.reason}); convert it or leave it out"
        ) from None


def _raw(file: Path, told: Told) -> Iterator[bytes]:
    with disk.open_regular(file) as stream:
        while chunk := stream.read(READ_BYTES):
            told(len(chunk))
            yield chunk


def _decompressed(file: Path, told: Told) -> Iterator[bytes]:
    # Not `stream_reader`: it takes a file cut off inside a frame for a whole one.
    try:
        with disk.open_regular(file) as stream:
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


def _split(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Lines without their ends; None in place of a line longer than a document may be, which is not kept in memory."""
    # Parts of a line are joined once, so that a line over many chunks costs linear time.
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        for number, part in enumerate(chunk.split(b"\n")):
            if number:
                if size <= DOCUMENT_BYTES:
                    yield b"".join(pending)
                pending, size = [], 0
            size += len(part)
            if size <= DOCUMENT_BYTES:
                pending.append(part)
            elif size - len(part) <= DOCUMENT_BYTES:
                pending = []
                yield None
    if size <= DOCUMENT_BYTES:
        yield b"".join(pending)
