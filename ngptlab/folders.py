"""Folders, made, filled and removed so that no link that a stranger left leads us elsewhere. Imports no torch.

The folder that a user names may be a link. What stands in it may not, because such a folder may come from anybody: a
comparison that was downloaded, a run that was handed on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ngptlab.disk import LINK, fsync_folder, naming, temporary_beside

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")
"""Names that `temporary_beside` gives. What merely looks temporary may be somebody's."""
REPLACED = re.compile(r"\.(.+)~\.[0-9a-f]{16}\.tmp")
"""Of these, the names of whole folders that `take_place` is about to replace."""
YOUNG_SECONDS = 60.0


def make(path: Path) -> None:
    """Make a folder, and those above it that are missing; their names are on the disk when this returns.

    Raises:
        OSError: one can't be made, or something else has its name.
    """
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for folder in reversed(missing):
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            # What is put into it later would be lost with its name.
            fsync_folder(folder.parent)
    path.mkdir(exist_ok=True)  # raises where it is there and no folder


def own(path: Path) -> Path:
    """A folder inside the one that the user named, made where it is missing. Its name is on the disk when this returns.

    Raises:
        OSError: it can't be made, or is a link or no folder.
    """
    with naming(path):
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            fsync_folder(path.parent)
        refuse_link(path)
        if not path.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return path


def refuse_link(path: Path) -> None:
    """Hold a place inside the folder that the user named, at which something will be written, against the rule.

    Raises:
        OSError: it is a link.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, LINK, str(path))


def check_writable(folder: Path) -> None:
    """Find out before long work, not after it, whether its results can be written.

    Raises:
        OSError: they can't.
    """
    probe = temporary_beside(folder / "probe")
    with naming(folder):
        probe.touch()
        probe.unlink()


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link, which is not followed; nothing there is no error.

    Raises:
        OSError: it can't be removed.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)


def remove_at_once(path: Path) -> None:
    """`remove` of a folder, of which no kill and no power cut leaves half: its name goes first.

    What is left under another name then is for `remove_temporaries`.
    Raises:
        OSError: it can't be removed.
    """
    going = temporary_beside(path)
    path.rename(going)
    fsync_folder(path.parent)
    remove(going)
    fsync_folder(path.parent)  # else it may come back, where nobody looks for it after the last save


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left in a folder; for its only writer, who holds a lock. A folder that is a link is left.

    What `put_back` knows is put back first.

    Raises:
        OSError: one can't be removed.
    """
    put_back(folder)
    if folder.is_dir() and not folder.is_symlink():
        for left in [path for path in folder.iterdir() if TEMPORARY.fullmatch(path.name)]:
            remove(left)


def put_back(folder: Path) -> None:
    """Give folders their names again that `take_place` had taken away when it was killed; for the only writer of `folder`.

    Raises:
        OSError: it can't be done.
    """
    if not folder.is_dir() or folder.is_symlink():
        return
    for left in sorted(folder.iterdir()):
        found = REPLACED.fullmatch(left.name)
        if not found or left.is_symlink() or not left.is_dir():
            continue
        if not os.path.lexists(path := folder / found[1]):
            left.rename(path)
            fsync_folder(folder)


def temporary() -> Path:
    """The folder of this machine in which programs keep what may go at any time."""
    return Path(tempfile.gettempdir())


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A new folder of the system's, which is removed when the block ends."""
    with tempfile.TemporaryDirectory(prefix="ngptlab-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def filling(path: Path) -> Iterator[Path]:
    """A new folder to write files into, which takes the name `path` when the block ends without an error.

    To fsync the files is the block's. Folders that killed writers of `path` left are removed.

    Raises:
        OSError: it can't be written, or something else than an empty folder has the name by then.
    """
    temporary = temporary_beside(path)
    with naming(path):
        _remove_abandoned(path)
        temporary.mkdir()
        try:
            with _held(temporary):
                yield temporary
                fsync_folder(temporary)
                temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        fsync_folder(path.parent)


def take_place(fresh: Path, path: Path) -> None:
    """Give a whole folder the name `path`, in place of a folder or link that has it. For the only writer of the folder above.

    The old folder goes under another name first, because a rename replaces only an empty one. A kill between the two renames
    leaves nothing at `path`, and never half of either; `put_back` then puts the old one back. What else a kill leaves beside is
    for `remove_temporaries`.

    Raises:
        OSError: it can't be done; what was there stays.
    """
    with naming(path):
        going = temporary_beside(path.with_name(f"{path.name}~"))
        if there := os.path.lexists(path):
            path.rename(going)
        try:
            fresh.rename(path)
        except OSError:
            if there:
                going.rename(path)
            raise
        fsync_folder(path.parent)
        if there:
            # Half of it must not be put back, so it loses that name first.
            remove(going.rename(temporary_beside(path)))


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder as its own lock, because nothing may be left in it; the kernel lets go when the process dies.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it can't be opened, or its file system locks no folders.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def link_to(target: Path, place: Path) -> None:
    """Make a link in place of what has the name `place`, a link whose target is gone too.

    Raises:
        OSError: it can't be made; what was there is untouched.
    """
    temporary = temporary_beside(place)
    with naming(place):
        temporary.symlink_to(target.absolute())
        temporary.replace(place)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Show that a folder's writer lives. NFS locks no folders; what is left there stays."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    """Remove temporary folders of `path` that nobody holds. Young ones stay: a folder is there before its lock."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if left.is_symlink() or time.time() - left.stat().st_mtime < YOUNG_SECONDS:
                continue
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(left)
            finally:
                os.close(descriptor)
