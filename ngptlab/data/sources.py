"""Where text comes from: documents one at a time, in an order that depends on names only.

`stdlib` is the running Python's own library source: always there, offline. `text:PATH` is a file or a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import zstandard

from ngptlab.errors import DataError, nearest

WHOLE_FILES = (".txt", ".md", ".py")
LINE_FILES = (".jsonl", ".jsonl.zst")
KINDS = " ".join((*WHOLE_FILES, *LINE_FILES))
ADVICE = f"give stdlib, text:PATH with a file or folder of {KINDS}, or shards:DIR with .bin shards"

# Tests hold broken text on purpose; the other folders hold what happens to be installed.
STDLIB_LEFT_OUT = ("test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__")
# Written when Python was built, with that machine's folders, so two builds of one version would differ.
STDLIB_BUILD_FILES = ("_sysconfigdata", "config-")
ZST_READ_BYTES = 1 << 14


class Document(NamedTuple):
    """One text and where it came from."""

    name: str
    """Path below the source's root, with `:LINE` for one line of a file."""
    text: str
    """Unicode that UTF-8 can encode."""


class _Listing(NamedTuple):
    scheme: str
    root: Path
    files: list[Path]

    def name(self, file: Path) -> str:
        return file.name if file == self.root else file.relative_to(self.root).as_posix()


def documents(source: str) -> Iterator[Document]:
    """Every document of a source, files in the order of their names, lines in the order of the file.

    Holds one document in memory at a time. Text is as stored: line ends are not translated.

    Raises:
        DataError: the source is unknown, missing or has no matching file (at once); a file can't be read or
            decoded, is cut off, or has a line that isn't an object with a string "text" (when reached).
    """
    return _read_all(_listing(source))


def fingerprint(source: str) -> str:
    """A cheap digest of the root, and of its files' names, sizes and times of change; reads no content.

    While it stays the same, so does a cached tokenization. The root is in it because names,
    sizes and times alone may agree by chance, as where an archive sets all times alike.

    Raises:
        DataError: as for `documents`, at once.
    """
    listing = _listing(source)
    records = [listing.scheme, str(listing.root.resolve())]
    if listing.scheme == "stdlib":
        records += [platform.python_implementation(), platform.python_version()]
    for file in listing.files:
        try:
            status = file.stat()
        except OSError as error:
            raise _unreadable(file, error) from None
        records += [listing.name(file), str(status.st_size), str(status.st_mtime_ns)]
    return hashlib.sha256("\0".join(records).encode("utf-8", "surrogateescape")).hexdigest()


def _listing(source: str) -> _Listing:
    scheme, _, place = source.partition(":")
    if source == "stdlib":
        root = Path(sysconfig.get_paths()["stdlib"])
    elif scheme == "text" and place:
        root = Path(os.path.expanduser(place))
    else:
        hint = nearest(scheme, ("stdlib", "text", "shards"))
        if Path(source).exists():
            hint = f"did you mean 'text:{source}'?"
        problem = "names no path" if scheme == "text" else f"is unknown, {hint}"
        raise DataError(f"data.source {source!r} {problem}; {ADVICE}")
    try:
        files = _stdlib_files(root) if source == "stdlib" else _text_files(root)
    except OSError as error:
        raise _unreadable(root, error) from None
    if not files:
        raise DataError(f"{root}: no file of a kind that can be read; {ADVICE}")
    return _Listing(scheme, root, files)


def _stdlib_files(root: Path) -> list[Path]:
    return _files_below(root, (".py",), STDLIB_LEFT_OUT, STDLIB_BUILD_FILES)


def _text_files(root: Path) -> list[Path]:
    suffixes = WHOLE_FILES + LINE_FILES
    if root.is_dir():
        return _files_below(root, suffixes)
    root.stat()  # the error of a missing file
    return [root] if _has_suffix(root, suffixes) else []


def _files_below(
    root: Path, suffixes: tuple[str, ...], left_out: tuple[str, ...] = (), not_at_root: tuple[str, ...] = ()
) -> list[Path]:
    found: list[Path] = []
    for folder, below, names in os.walk(root, onerror=_raise):
        skipped = not_at_root if Path(folder) == root else ()
        # Pruned before they are walked: what is left out may be large.
        below[:] = [name for name in below if name not in left_out and not name.startswith(skipped)]
        found += (Path(folder) / name for name in names if not name.startswith(skipped))
    matching = (path for path in found if _has_suffix(path, suffixes) and path.is_file())
    return sorted(matching, key=lambda path: path.relative_to(root).as_posix())


def _raise(error: OSError) -> None:
    """For `os.walk`, which by itself passes over a folder that it can't list."""
    raise error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{error.filename or path}: can't be read ({error.strerror}); {ADVICE}")


def _has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(suffixes)


def _read_all(listing: _Listing) -> Iterator[Document]:
    # A distribution may patch in a file that isn't UTF-8; the demo's corpus must be there all the same.
    errors = "replace" if listing.scheme == "stdlib" else "strict"
    for file in listing.files:
        name = listing.name(file)
        try:
            if _has_suffix(file, WHOLE_FILES):
                yield Document(name, _decode(file.read_bytes(), str(file), errors))
            else:
                yield from _read_lines(file, name)
        except OSError as error:
            raise _unreadable(file, error) from None


def _read_lines(file: Path, name: str) -> Iterator[Document]:
    chunks = _decompressed(file) if file.name.lower().endswith(".zst") else _raw(file)
    for number, line in enumerate(_split(chunks), start=1):
        if line.strip():
            yield Document(f"{name}:{number}", _text_of(line, f"{file}, line {number}"))


def _text_of(line: bytes, place: str) -> str:
    decoded = _decode(line, place).removeprefix("\ufeff")
    try:
        record = json.loads(decoded)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON ({error}); each line must be an object with a 'text'") from None
    if not isinstance(record, dict) or not isinstance(record.get("text"), str):
        held = f"keys {sorted(record)}"[:80] if isinstance(record, dict) else type(record).__name__
        raise DataError(f"{place}: holds {held}; each line must be an object with a string 'text'")
    text: str = record["text"]
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # JSON can spell half of a surrogate pair, which is no character and has no UTF-8.
        raise DataError(
            f"{place}: 'text' is not valid Unicode ({error.reason}); mend or drop the line"
        ) from None
    return text


def _decode(raw: bytes, place: str, errors: str = "strict") -> str:
    try:
        return raw.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place}: not UTF-8 (byte {error.start}: {error.reason}); convert it or leave it out"
        ) from None


def _raw(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            yield chunk


def _decompressed(file: Path) -> Iterator[bytes]:
    # Not `stream_reader`: it takes a file cut off inside a frame for a whole one.
    try:
        with file.open("rb") as stream:
            decompressor, ended = None, False
            while raw := stream.read(ZST_READ_BYTES):
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
