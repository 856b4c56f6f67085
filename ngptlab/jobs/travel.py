"""A run folder on its way between machines that share no disk: packed as names and bytes, and unpacked with care.

Only plain names and the content of regular files travel: no link, no mode, no owner, no time. What comes from another machine
is held against these rules before anything of it is written. Imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from ngptlab import disk
from ngptlab.disk import temporary_beside, write_bytes
from ngptlab.errors import DataError, shown
from ngptlab.folders import filling, own, refuse_link, take_place
from ngptlab.sizes import in_bytes

MOST_BYTES = 8 << 30
"""Of all files of a run together, which are held in memory on both machines. Two checkpoints of 300 million weights take 7."""
MOST_FILES = 10_000
MOST_LEVELS = 4
"""Names in a path. Ours have three: checkpoints/step_000200/manifest.json."""
LONGEST_NAME = 255
"""Bytes of one name, which is what file systems take."""

Files = dict[str, bytes]
"""Content by path, with `/` between names."""


def check_planned(size: int) -> None:
    """Find out before a run is trained, not after it, whether it can travel.

    Args:
        size: bytes of the checkpoints that it will have at its end.

    Raises:
        DataError: they are more than travel.
    """
    if size > MOST_BYTES:
        raise DataError(
            f"the checkpoints that the run keeps take {in_bytes(size)}, and at most {in_bytes(MOST_BYTES)} travel between "
            "machines: give an --out that all of them share, or keep fewer (--checkpoint.keep, .keep-every, .at)"
        )


def pack_what_fits(folder: Path) -> tuple[Files, int]:
    """`pack` of a run, without its oldest checkpoints where all is too much; also says how many stay behind.

    The newest one always travels, because a run without it is lost.

    Raises:
        DataError, OSError: as `pack`.
    """
    found = [path for path in (folder / "checkpoints").glob("step_*") if path.name[5:].isdecimal()]
    oldest = sorted(found, key=lambda path: int(path.name[5:]))[:-1]
    for left in range(len(oldest)):
        try:
            return pack(folder, without=oldest[:left]), left
        except DataError:  # raised before a file is read
            continue
    return pack(folder, without=oldest), len(oldest)


def pack(folder: Path, *, without: Collection[Path] = ()) -> Files:
    """The files of a run folder; empty where there is none. Hidden ones stay: locks, and what a kill left half written.

    Args:
        without: folders that stay, too.

    Raises:
        DataError: they are too many or too large to travel.
        OSError: one can't be read, or the folder is a link.
    """
    refuse_link(folder)
    paths = [
        path
        for above, folders, names in os.walk(folder, followlinks=False)
        if Path(above) not in without
        for path in (Path(above) / name for name in names)
        if not path.is_symlink() and path.is_file() and _is_shown(path.relative_to(folder))
    ]
    _check_amount(len(paths), sum(path.stat().st_size for path in paths), str(folder))
    return {
        path.relative_to(folder).as_posix(): disk.read_bytes(path, limit=MOST_BYTES) for path in sorted(paths)
    }


def unpack(files: object, path: Path) -> None:
    """Make `path` the folder of these files, in place of one that is there; as a whole, or not at all.

    Raises:
        DataError: what came is no such files; nothing was written.
        OSError: it can't be written; what was there stays.
    """
    content = checked(files)
    refuse_link(path)
    fresh = temporary_beside(path)
    with filling(fresh) as folder:
        for name, data in content.items():
            *above, last = name.split("/")
            place = folder
            for part in above:
                place = own(place / part)
            write_bytes(place / last, data)
    take_place(fresh, path)


def checked(files: object) -> Files:
    """What came, once it is known to be files that may be written below a folder.

    Raises:
        DataError: a name leads out of the folder, is hidden, is a file and a folder, or no name; or there is too much.
    """
    if not isinstance(files, dict):
        raise DataError(f"a run came back as {type(files).__name__}, not as files; nothing of it is kept")
    for name, content in files.items():
        if not isinstance(name, str) or not _is_plain(name) or not isinstance(content, bytes):
            raise DataError(
                f"a run came back with {shown(str(name))}, which is no file of a run; nothing of it is kept"
            )
    above = {"/".join(name.split("/")[:depth]) for name in files for depth in range(1, name.count("/") + 1)}
    if both := sorted(above & files.keys()):
        raise DataError(
            f"a run came back with {shown(both[0])} as a file and as a folder; nothing of it is kept"
        )
    _check_amount(len(files), sum(map(len, files.values())), "a run that came back")
    return files


def _check_amount(number: int, size: int, what: str) -> None:
    if number > MOST_FILES or size > MOST_BYTES:
        raise DataError(
            f"{what}: {number} files of {size} bytes; at most {MOST_FILES} of {MOST_BYTES} travel between machines: give an "
            "--out that all of them share"
        )


def _is_shown(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts)


def _is_plain(name: str) -> bool:
    """Whether it is a path downwards, of names that every file system takes; `.` and `..` are hidden names."""
    parts = name.split("/")
    return len(parts) <= MOST_LEVELS and all(
        part.isprintable()
        and 0 < len(part.encode()) <= LONGEST_NAME
        and not part.startswith(".")
        and "\\" not in part
        for part in parts
    )
