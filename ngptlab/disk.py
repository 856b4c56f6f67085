"""Files, read and written so that neither a stranger's folder nor a full disk does harm. Imports no torch.

Reading takes regular files only, because a FIFO blocks for ever and `/dev/zero` never ends, and has a limit on their size,
because what is read may be anything. Writing goes through a temporary file of a random name, which no link can stand in for,
and one rename: a reader, a second writer or a kill meets the old file or the new one. All errors are `OSError`s that name
the path; those of a full disk say how much was to be written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from ngptlab.json_text import parse_json

RECORD_BYTES = 64 << 20
"""Limit for a file that is read as a whole and parsed: configs, manifests, results. Ours have kilobytes."""
PIECE_BYTES = 1 << 20
END_BYTES = 1 << 16
LINK = "a link, through which nothing is written; remove it"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""From file systems that have no hard links."""
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISLNK, "a link"),
)


class NoRoom(OSError):
    """The disk or the quota is full, or the file is larger than the system lets it be; says how much was to be written."""


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; a link to one is followed.

    Raises:
        OSError: it can't be read, or is a folder, a FIFO, a device or a socket.
    """
    # Without O_NONBLOCK, opening a FIFO waits for a writer. For a regular file it changes nothing.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check_regular(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def check_regular(path: Path) -> None:
    """Hold a path that a library shall open against the rule of `open_regular`.

    Raises:
        OSError: it is missing, or no regular file.
    """
    _check_regular(path, path.stat())


def read_bytes(path: Path, *, limit: int = RECORD_BYTES, longest: int | None = None) -> bytes:
    """The content of a regular file of at most `limit` bytes; of a file of lines `longest` is the limit for one of them.

    Raises:
        OSError: it can't be read, is no regular file, or is longer.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if longest is not None and longest < size <= limit:
            _check_lines(file, path, longest)
        # One byte more than it has, because as much memory is taken as is asked for; more only where it grew meanwhile, or
        # lies in /proc, whose files have size 0.
        content = file.read(size + 1) if size <= limit else b""
        while size < len(content) <= limit and (
            more := file.read(min(PIECE_BYTES, limit + 1 - len(content)))
        ):
            content += more
    if size > limit or len(content) > limit:
        raise OSError(
            errno.EFBIG, f"has {max(size, len(content))} bytes, at most {limit} are read", str(path)
        )
    return content


def lines_of(content: bytes) -> Iterator[bytes]:
    """Lines without their ends, one at a time, because a list of a million blank lines takes ten times their bytes.

    What follows the last end of a line is none of them, because a kill may have torn it.
    """
    start = 0
    while end := content.find(b"\n", start) + 1:
        yield content[start : end - 1]
        start = end


def read_text(path: Path, *, limit: int = RECORD_BYTES) -> str:
    """The text of a regular file in UTF-8, line ends as they stand, without a byte order mark before it.

    Raises:
        OSError: as `read_bytes`.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_bytes(path, limit=limit).decode("utf-8-sig")


def read_end(path: Path, *, most: int = END_BYTES) -> str:
    """The last `most` bytes of a log, as text; what is no UTF-8 becomes U+FFFD.

    Raises:
        OSError: it can't be read, or is no regular file.
    """
    with open_regular(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - most))
        return file.read(most).decode("utf-8", "replace")


def read_json(path: Path, *, limit: int = RECORD_BYTES) -> Any:
    """The value in a JSON file.

    Raises:
        OSError: as `read_bytes`.
        ValueError: as `parse_json`.
    """
    return parse_json(read_bytes(path, limit=limit))


def write_bytes(path: Path, content: bytes) -> None:
    """Put a file on the disk in place of what has its name, all of it when this returns; a link there is replaced, not followed.

    Raises:
        OSError: it can't be written; the old file is untouched.
    """
    with replacing(path, size=len(content)) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """`write_bytes`, of a text in UTF-8.

    Raises:
        OSError: as `write_bytes`.
    """
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any, *, finite: bool = True) -> None:
    """`write_bytes`, of a value as indented JSON.

    Raises:
        OSError: as `write_bytes`.
        ValueError: where `finite`, a number in it is not.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=not finite) + "\n")


@contextlib.contextmanager
def replacing(path: Path, *, size: int | None = None) -> Iterator[BinaryIO]:
    """A file to write to, which is put on the disk and takes its name when the block ends without an error.

    Raises:
        OSError: it can't be written; the old file is untouched. `size`, in bytes, is named where the disk is full.
    """
    temporary = temporary_beside(path)
    with naming(path, size):
        try:
            # O_EXCL: the name is random, but a link may stand in a folder that somebody else can write to.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            with os.fdopen(descriptor, "wb") as file:
                yield file
                sync(file)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)


def is_utf8(text: str) -> bool:
    """Whether UTF-8 can hold a text. The name of a file can be any bytes, and Python's text of it then can't."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def name_of(path: Path) -> str:
    """The last name of a path, as text that UTF-8 can hold, and so a record: a byte that is none becomes an escape."""
    return path.resolve().name.encode("utf-8", "backslashreplace").decode("utf-8")


def temporary_beside(path: Path) -> Path:
    """A name that nothing has, in the same folder; `is_temporary` knows it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def is_temporary(path: Path) -> bool:
    """Whether a killed writer, of an earlier version too, may have left it half done: passed over, not removed for that."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def write_new(path: Path, text: str) -> bool:
    """Put a new file on the disk, all of it when it is there; False where something has its name already.

    Raises:
        OSError: it can't be written.
    """
    temporary, content = temporary_beside(path), text.encode("utf-8")
    with naming(path, len(content)):
        try:
            write_bytes(temporary, content)
            os.link(temporary, path, follow_symlinks=False)  # unlike a rename, it replaces nothing
        except (FileExistsError, FileNotFoundError):  # the writer of what is there may clear up after others
            if not os.path.lexists(path):
                raise
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        fsync_folder(path.parent)
    return True


def create(path: Path, *, gathered: int = -1) -> BinaryIO:
    """Open a new file in place of the file or link that has its name. For what is written over a long time.

    Short pieces are written together, up to so many bytes; by default as Python does it.

    Raises:
        OSError: it can't be made.
    """
    with naming(path):
        path.unlink(missing_ok=True)
        return path.open("xb", buffering=gathered)


def update(path: Path) -> BinaryIO:
    """Open a file for reading and writing in place; made where it is missing.

    Raises:
        OSError: it can't be opened, or is a link or no regular file.
    """
    return os.fdopen(_open_own(path, os.O_RDWR), "r+b")


def append(path: Path, text: str) -> None:
    """Add a text at a file's end in one write; it is in the kernel's hands when this returns.

    Raises:
        OSError: it can't be written, or is a link or no regular file.
    """
    content = text.encode("utf-8")
    with naming(path, len(content)):
        descriptor = _open_own(path, os.O_WRONLY | os.O_APPEND)
        try:
            while content:
                content = content[os.write(descriptor, content) :]
        finally:
            os.close(descriptor)


def truncate(path: Path, size: int) -> None:
    """Cut a file down to its first `size` bytes, on the disk when this returns.

    Raises:
        OSError: it can't be written, or is a link or no regular file.
    """
    with naming(path):
        descriptor = _open_own(path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock file, which is made where it is missing and never emptied; the kernel lets go of it when the process dies.

    Raises:
        BlockingIOError: another process holds it, and `wait` is not asked for.
        OSError: it can't be made, or is a link or no regular file.
    """
    descriptor = _open_own(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming(path: Path, size: int | None = None) -> Iterator[None]:
    """Have the errors of a block name `path`, and `size`, in bytes, where there is no room for them.

    Of nested blocks the inner one's words stand.
    """
    try:
        yield
    except NoRoom:
        raise
    except OSError as error:
        named = error if error.filename is not None else OSError(error.errno, error.strerror, str(path))
        if error.errno in NO_ROOM:
            named = NoRoom(error.errno, f"{error.strerror}{_room(path, size)}", named.filename)
        raise named from None


def sync(file: BinaryIO) -> None:
    """Put on the disk what was written to a file that is open, by others too.

    Raises:
        OSError: it can't be written.
    """
    file.flush()
    os.fsync(file.fileno())


def take_name(temporary: Path, path: Path) -> None:
    """Put a whole file on the disk, which a library wrote beside it, in place of what has the name `path`.

    Raises:
        OSError: it can't be done; the old file is untouched.
    """
    with naming(path):
        with open_regular(temporary) as file:
            sync(file)
        temporary.replace(path)
        fsync_folder(path.parent)


def fsync_folder(path: Path) -> None:
    """Put a folder's entries on the disk; fsync of a file does not do that for its name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # it may be written and not read, as scratch of many users
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_lines(file: BinaryIO, path: Path, longest: int) -> None:
    """Look for a line that is too long before the file is held in memory: a file without room on the disk may be one."""
    size = 0
    while piece := file.read(PIECE_BYTES):
        first = piece.find(b"\n")
        size += len(piece) if first < 0 else first
        if size > longest:
            raise OSError(errno.EFBIG, f"has a line of more than {longest} bytes", str(path))
        if first >= 0:
            size = len(piece) - piece.rfind(b"\n") - 1
    file.seek(0)


def _open_own(path: Path, flags: int) -> int:
    """A file that we write in place: made where it is missing, never through a link."""
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        why = LINK if error.errno == errno.ELOOP else error.strerror
        raise OSError(error.errno, why, str(path)) from None
    try:
        _check_regular(path, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((name for check, name in KINDS if check(status.st_mode)), "something else")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", str(path))


def _room(path: Path, size: int | None) -> str:
    facts = [] if size is None else [f"{size} bytes to write"]
    with contextlib.suppress(OSError):
        place = next(folder for folder in path.parents if folder.exists())
        facts.append(f"{shutil.disk_usage(place).free} free")
    return f" ({', '.join(facts)})" if facts else ""
