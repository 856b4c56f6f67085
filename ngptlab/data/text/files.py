"""Text in files: the running Python's own library source, or a file or folder of the user's."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

from ngptlab.data.text.formats import (
    KINDS,
    NO_TEXT,
    SUFFIXES,
    TEXT_COLUMN,
    Document,
    has_suffix,
    read_file,
)
from ngptlab.disk import name_of
from ngptlab.errors import DataError

ADVICE = f"give stdlib, text:PATH with a text file or a folder of {KINDS}, or shards:DIR with .bin shards"

# Tests hold broken text on purpose; the other folders hold what happens to be installed.
STDLIB_LEFT_OUT = ("test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__")
# Written when Python was built, with that machine's folders, so two builds of one version would differ.
STDLIB_BUILD_FILES = ("_sysconfigdata", "config-")


class Files:
    """A `Source` whose parts are files, in the order of their names.

    Args:
        place: a file or folder; none: the standard library.
        column: column of tables, or key of JSON lines, that holds the text.

    Raises:
        DataError: the place is missing or has no matching file. Reading raises it where a file can't be read or
            decoded, is cut off, or has no such column of strings.
    """

    def __init__(self, place: str = "", *, column: str = TEXT_COLUMN) -> None:
        self._stdlib = not place
        self._root = Path(os.path.expanduser(place) if place else sysconfig.get_paths()["stdlib"])
        self._column = column
        self._files = self._list()
        self._part, self._bytes_read = 0, 0

    @property
    def label(self) -> str:
        """See `Source`."""
        return "stdlib" if self._stdlib else f"text:{name_of(self._root)}"

    @property
    def num_parts(self) -> int:
        """See `Source`."""
        return len(self._files)

    def fingerprint(self) -> str:
        """A cheap digest of the root, and of its files' names, sizes and times of change; reads no content.

        The root is in it because names, sizes and times alone may agree by chance, for example where an archive sets
        all times alike.
        """
        records = ["stdlib" if self._stdlib else "text", str(self._root.resolve())]
        if self._stdlib:
            records += [platform.python_implementation(), platform.python_version()]
        for file in self._list():  # anew: files that came or went meanwhile count too
            status = _stat(file)
            records += [self._name(file), str(status.st_size), str(status.st_mtime_ns)]
        if self._column != TEXT_COLUMN:
            records.append(self._column)
        return hashlib.sha256("\0".join(records).encode("utf-8", "surrogateescape")).hexdigest()

    def read(self, part: int) -> Iterator[Document]:
        """See `Source`."""
        file, self._part, self._bytes_read = self._files[part], part, 0
        # A distribution may patch in a file that isn't UTF-8; the demo's corpus must be there all the same.
        errors = "replace" if self._stdlib else "strict"
        try:
            yield from read_file(file, self._name(file), self._column, self._told, errors)
        except OSError as error:
            raise _unreadable(file, error) from None

    def share_read(self) -> float:
        """See `Source`; counts bytes."""
        return (self._starts[self._part] + self._bytes_read) / max(1, self._starts[-1])

    @functools.cached_property
    def _starts(self) -> list[int]:
        """Bytes of all files before each file, then the bytes of all files."""
        return list(accumulate((_stat(file).st_size for file in self._files), initial=0))

    def _told(self, num_bytes: int) -> None:
        self._bytes_read += num_bytes

    def _list(self) -> list[Path]:
        try:
            files = _stdlib_files(self._root) if self._stdlib else _text_files(self._root)
        except OSError as error:
            raise _unreadable(self._root, error) from None
        if not files:
            raise DataError(f"{self._root}: no file of a kind that can be read; {ADVICE}")
        return files

    def _name(self, file: Path) -> str:
        return file.name if file == self._root else file.relative_to(self._root).as_posix()


def _stdlib_files(root: Path) -> list[Path]:
    return _files_below(root, (".py",), STDLIB_LEFT_OUT, STDLIB_BUILD_FILES)


def _text_files(root: Path) -> list[Path]:
    if root.is_dir():
        return _files_below(root, SUFFIXES) or _files_of_other_names(root)
    root.stat()  # the error of a missing file
    if has_suffix(root, NO_TEXT) and not has_suffix(root, SUFFIXES):
        raise DataError(f"{root}: a file of this kind holds no plain text; unpack or convert it, or {ADVICE}")
    return [root]  # whoever names a file means it, whatever its suffix


def _files_of_other_names(root: Path) -> list[Path]:
    """Where no file has a suffix that is known: all that may be text, as WikiText's `.raw` or a README."""
    found = _files_below(root, ("",))
    return [
        file
        for file in found
        if not has_suffix(file, NO_TEXT)
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
    ]


def _files_below(
    root: Path, suffixes: tuple[str, ...], left_out: tuple[str, ...] = (), not_at_root: tuple[str, ...] = ()
) -> list[Path]:
    found: list[Path] = []
    for folder, below, names in os.walk(root, onerror=_raise):
        skipped = not_at_root if Path(folder) == root else ()
        # Pruned before they are walked: what is left out may be large.
        below[:] = [name for name in below if name not in left_out and not name.startswith(skipped)]
        found += (Path(folder) / name for name in names if not name.startswith(skipped))
    matching = (path for path in found if has_suffix(path, suffixes) and path.is_file())
    return sorted(matching, key=lambda path: path.relative_to(root).as_posix())


def _stat(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise _unreadable(file, error) from None


def _raise(error: OSError) -> None:
    """Handler for `os.walk`, which without one passes over a folder that it can't list."""
    raise error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{error.filename or path}: can't be read ({error.strerror}); {ADVICE}")
