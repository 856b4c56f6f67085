"""What a program asked of the file system, and what a crash at any moment of it may leave.

`recording` stands between a forked child and the functions of `os` and `io` by which files are changed, and writes down each call
below a folder. `Disk` does the calls again in memory. It keeps two states: the one that programs see, and the one that is on the
disk for sure. A file's content is there after its fsync. A name is there, or gone, after the fsync of its folder. That is what
POSIX promises; common file systems keep more. So `Disk` can tell what is left if the process dies after a call, and what may be
left if the power goes.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import errno
import fcntl
import hashlib
import io
import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

NAMES = ("mkdir", "rmdir", "unlink", "remove", "rename", "replace", "link", "symlink")


@dataclass(frozen=True)
class Act:
    """One call. Paths are relative to the folder that is recorded; `handle` is that of an open file or folder."""

    what: str
    path: str = ""
    to: str = ""
    handle: int = 0
    offset: int = 0
    content: bytes = b""

    def __str__(self) -> str:
        size = f" {len(self.content)} bytes" if self.content else ""
        return f"{self.what} {self.path}{f' to {self.to}' if self.to else ''}{size}"


class Recorder:
    """The calls so far. A mark is a call that changes nothing."""

    def __init__(self, root: Path) -> None:
        self.acts: list[Act] = []
        self.room: int | None = None
        """Bytes that may still be written; None: no limit."""
        self.alone = threading.RLock()
        """Calls of threads are done one after the other, so that they are written down in the order in which they are done."""
        self._root, self._open = str(root), dict[int, tuple[int, str]]()
        self._handles = 0

    def mark(self, text: str) -> None:
        self.acts.append(Act("mark", text))

    def place(self, path: Any, folder: int | None = None) -> str | None:
        """A path below the root; None where it is not."""
        if isinstance(path, int):
            return self._open[path][1] if path in self._open else None
        text = os.fspath(path)
        text = text.decode() if isinstance(text, bytes) else text
        if folder is not None and not os.path.isabs(text):
            text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
        text = os.path.abspath(text)
        if text == self._root or text.startswith(self._root + os.sep):
            return os.path.relpath(text, self._root)
        return None

    def opened(self, descriptor: int, place: str, made: bool, emptied: bool) -> None:
        self._handles += 1
        self._open[descriptor] = self._handles, place
        self.acts.append(Act("create" if made else "open", place, handle=self._handles))
        if emptied and not made:
            self.acts.append(Act("truncate", place, handle=self._handles, offset=0))

    def of(self, what: str, descriptor: int, **more: Any) -> None:
        if descriptor in self._open:
            handle, place = self._open[descriptor]
            self.acts.append(Act(what, place, handle=handle, **more))

    def fitting(self, descriptor: int, content: bytes) -> bytes:
        """As much of a write as there is room for.

        Raises:
            OSError: there is none.
        """
        if self.room is None or descriptor not in self._open or not content:
            return content
        fits = content[: self.room]
        self.room -= len(fits)
        if not fits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return fits

    def closed(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)


class _Raw(io.FileIO):
    """A file whose writes are written down, or told to as they reach the system."""

    recorder: Recorder

    def write(self, content: Any) -> int:  # type: ignore[override]
        with self.recorder.alone:
            number = self.fileno()
            content = self.recorder.fitting(number, bytes(content))
            offset = os.fstat(number).st_size if self.mode.startswith("a") else self.tell()
            written = super().write(content)
            self.recorder.of("write", number, offset=offset, content=content[:written])
            return written

    def truncate(self, size: int | None = None) -> int:
        with self.recorder.alone:
            size = self.tell() if size is None else size
            self.recorder.of("truncate", self.fileno(), offset=size)
            return super().truncate(size)

    def close(self) -> None:
        with self.recorder.alone:
            if not self.closed:
                self.recorder.closed(self.fileno())
            super().close()


@contextlib.contextmanager
def recording(root: Path) -> Iterator[Recorder]:
    """Write down what this process does below `root`. For a child that ends soon after."""
    recorder, kept = (
        Recorder(root.resolve()),
        {name: getattr(os, name) for name in ("open", "close", "write", "fsync", "ftruncate", *NAMES)},
    )
    real_open = io.open

    def open_(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        place = recorder.place(path, dir_fd)
        made = (
            place is not None
            and bool(flags & os.O_CREAT)
            and not os.path.lexists(recorder._root + "/" + place)
        )
        descriptor = kept["open"](path, flags, mode, dir_fd=dir_fd)
        recorder.closed(descriptor)  # by somebody who did not say so
        if place is not None:
            recorder.opened(descriptor, place, made, bool(flags & os.O_TRUNC))
        return int(descriptor)

    def write(descriptor: int, content: Any) -> int:
        appends = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND
        offset = (
            os.fstat(descriptor).st_size
            if appends
            else os.lseek(descriptor, 0, os.SEEK_CUR)
            if descriptor > 2
            else 0
        )
        content = recorder.fitting(descriptor, bytes(content))
        written = kept["write"](descriptor, content)
        recorder.of("write", descriptor, offset=offset, content=content[:written])
        return int(written)

    def close(descriptor: int) -> None:
        recorder.closed(descriptor)
        kept["close"](descriptor)

    def fsync(descriptor: Any) -> None:
        kept["fsync"](descriptor)
        recorder.of("fsync", descriptor if isinstance(descriptor, int) else descriptor.fileno())

    def ftruncate(descriptor: int, size: int) -> None:
        kept["ftruncate"](descriptor, size)
        recorder.of("truncate", descriptor, offset=size)

    def naming(name: str) -> Callable[..., None]:
        def act(path: Any, *more: Any, **named: Any) -> None:
            folder = named.get("dir_fd", named.get("src_dir_fd"))
            places = [recorder.place(path, folder)]
            if name in ("rename", "replace", "link", "symlink"):
                places.append(recorder.place(more[0], named.get("dst_dir_fd")))
            kept[name](path, *more, **named)
            what = {"remove": "unlink", "replace": "rename"}.get(name, name)
            if name == "symlink":
                if places[1] is not None:
                    recorder.acts.append(Act("symlink", places[1], to=os.fspath(path)))
            elif places[0] is not None:
                recorder.acts.append(Act(what, places[0], to=(places[1] or "") if len(places) > 1 else ""))

        return act

    def opening(file: Any, mode: str = "r", buffering: int = -1, *more: Any, **named: Any) -> Any:
        number = file if isinstance(file, int) else None
        place = recorder.place(file)
        if place is None or not set(mode) & set("wxa+"):
            return real_open(file, mode, buffering, *more, **named)
        assert "b" in mode, f"{place} is written as text"
        if number is None:
            flags = {"w": os.O_WRONLY | os.O_CREAT | os.O_TRUNC, "x": os.O_WRONLY | os.O_CREAT | os.O_EXCL}
            flags |= {"a": os.O_WRONLY | os.O_CREAT | os.O_APPEND, "r": os.O_RDWR}
            number = open_(file, flags[mode[0]] | os.O_CLOEXEC, 0o666)
        raw = _Raw(number, mode.replace("b", "").replace("x", "w") + "b" if "+" not in mode else "rb+")
        raw.recorder = recorder
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        return io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)

    changed: dict[str, Any] = {
        "open": open_,
        "close": close,
        "write": write,
        "fsync": fsync,
        "ftruncate": ftruncate,
    }
    changed |= {name: naming(name) for name in NAMES}

    def alone(function: Callable[..., Any]) -> Callable[..., Any]:
        def act(*given: Any, **named: Any) -> Any:
            with recorder.alone:
                return function(*given, **named)

        return act

    try:
        for name, function in changed.items():
            setattr(os, name, alone(function))
        io.open = builtins.open = alone(opening)
        yield recorder
    finally:
        for name, function in kept.items():
            setattr(os, name, function)
        io.open = builtins.open = real_open


@dataclass
class File:
    """Content as programs see it, content that is on the disk, and the writes between the two."""

    seen: bytearray = field(default_factory=bytearray)
    kept: bytes = b""
    waiting: list[Act] = field(default_factory=list)


@dataclass
class Folder:
    """Names as programs see them, names that are on the disk, and the changes between the two: lists of (name, node or None)."""

    seen: dict[str, Any] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    waiting: list[list[tuple[str, Any]]] = field(default_factory=list)

    def change(self, *changes: tuple[str, Any]) -> None:
        """One change of the folder, whole or not at all: a rename is two names."""
        apply(self.seen, changes)
        self.waiting.append(list(changes))


def apply(names: dict[str, Any], changes: Any) -> None:
    for name, node in changes:
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class Disk:
    """A folder's tree, whose calls are done again in memory. A link is the text that it leads to."""

    def __init__(self, folder: Path) -> None:
        self.root = _read(folder)
        self._handles: dict[int, Any] = {}

    def do(self, act: Act) -> None:
        """One call."""
        parent, name = self._parent(act.path)
        match act.what:
            case "mark":
                pass
            case "create":
                node = File()
                parent.change((name, node))
                self._handles[act.handle] = node
            case "open":
                self._handles[act.handle] = self.root if act.path == "." else parent.seen.get(name)
            case "write":
                write(self._handles[act.handle].seen, act)
                self._handles[act.handle].waiting.append(act)
            case "truncate":
                write(self._handles[act.handle].seen, act)
                self._handles[act.handle].waiting.append(act)
            case "fsync":
                node = self._handles[act.handle]
                node.kept = bytes(node.seen) if isinstance(node, File) else dict(node.seen)
                node.waiting.clear()
            case "mkdir":
                parent.change((name, Folder()))
            case "rmdir" | "unlink":
                parent.change((name, None))
            case "symlink":
                parent.change((name, act.to))
            case "rename":
                other, new = self._parent(act.to)
                assert other is parent, f"{act}: from one folder to another"
                parent.change((name, None), (new, parent.seen[name]))
            case "link":
                other, new = self._parent(act.to)
                other.change((new, parent.seen[name]))

    def _parent(self, path: str) -> tuple[Folder, str]:
        *folders, name = path.split("/")
        node = self.root
        for each in folders:
            if not isinstance(node, Folder) or each not in node.seen:
                return Folder(), name  # of a folder that is gone, held open
            node = node.seen[each]
        return node, name


def write(content: bytearray, act: Act) -> None:
    """A write, or a truncation, to a file's content."""
    if act.what == "truncate":
        del content[act.offset :]
        return
    content.extend(bytes(max(0, act.offset - len(content))))
    content[act.offset : act.offset + len(act.content)] = act.content


Tree = dict[str, bytes | str | None]
"""Paths to contents; None for a folder, a text for a link."""
Choose = Callable[[list[Any]], list[Any]]
"""Which of some changes that are not on the disk for sure have reached it."""


def seen(disk: Disk) -> Tree:
    """What programs see: what is left when a process is killed."""
    return dict(_walk(disk.root, lambda folder: folder.seen, lambda file: bytes(file.seen)))


def after_power_cut(disk: Disk, names: Choose, data: str, draw: random.Random) -> Tree:
    """What may be left when the power goes.

    Args:
        names: of the changes of a folder.
        data: of a file's content that no fsync came after: `nothing`, `half` of its writes, `zeros` in its place, or `random`.
    """

    def entries(folder: Folder) -> dict[str, Any]:
        found = dict(folder.kept)
        for changes in names(folder.waiting):
            apply(found, changes)
        return found

    def content(file: File) -> bytes:
        if not file.waiting:
            return file.kept
        if data == "zeros":
            return file.kept[: len(file.seen)] + bytes(max(0, len(file.seen) - len(file.kept)))
        found = bytearray(file.kept)
        number = {"nothing": 0.0, "half": 0.5}.get(data, draw.random()) * len(file.waiting)
        for act in file.waiting[: int(number)]:
            write(found, act)
        if int(number) < number:  # the write under way reached the disk in part
            act = file.waiting[int(number)]
            write(found, half(act, number - int(number)))
        return bytes(found)

    return dict(_walk(disk.root, entries, content))


def half(act: Act, share: float = 0.5) -> Act:
    """A write of which only the first part was done."""
    return replace(act, content=act.content[: int(share * len(act.content))])


def _walk(
    node: Folder,
    entries: Callable[[Folder], dict[str, Any]],
    content: Callable[[File], bytes],
    path: str = "",
) -> Iterator[tuple[str, bytes | str | None]]:
    for name, inner in sorted(entries(node).items()):
        place = f"{path}/{name}" if path else name
        if isinstance(inner, Folder):
            yield place, None
            yield from _walk(inner, entries, content, place)
        else:
            yield place, content(inner) if isinstance(inner, File) else inner


def _read(path: Path) -> Folder:
    """A folder of the real disk, all of it kept for sure."""
    names: dict[str, Any] = {}
    for entry in sorted(path.iterdir()):
        if entry.is_symlink():
            names[entry.name] = os.readlink(entry)
        elif entry.is_dir():
            names[entry.name] = _read(entry)
        else:
            content = entry.read_bytes()
            names[entry.name] = File(bytearray(content), content)
    return Folder(names, dict(names))


def tree_of(path: Path) -> Tree:
    """A folder of the real disk, as `seen` gives one of memory."""
    return dict(_walk(_read(path), lambda folder: folder.seen, lambda file: file.kept))


def put(tree: Tree, path: Path) -> None:
    """Make a tree on the real disk."""
    path.mkdir(parents=True)
    for name, content in tree.items():
        place = path / name
        if content is None:
            place.mkdir()
        elif isinstance(content, str):
            place.symlink_to(content)
        else:
            place.write_bytes(content)


def digest(tree: Tree) -> str:
    """Equal for equal trees."""
    found = hashlib.sha256()
    for name, content in tree.items():
        found.update(
            repr(
                (name, content if not isinstance(content, bytes) else hashlib.sha256(content).hexdigest())
            ).encode()
        )
    return found.hexdigest()


@dataclass(frozen=True)
class Left:
    """What a crash leaves, and how it came to it."""

    number: int
    """Of the call at which it came."""
    how: str
    tree: Tree


def crashes(
    start: Path, acts: list[Act], draw: random.Random, *, within: range, draws: int = 2
) -> Iterator[Left]:
    """What may be left by a crash before and after each call of a range, in the middle of it, and by a cut of the power.

    Args:
        start: the folder as it was before the first call.
        within: numbers of the calls; those before are done in any case.
        draws: of the cuts of the power at each call, how many are by chance, besides four that are certain.
    """
    disk = Disk(start)
    for number, act in enumerate(acts):
        there = number in within and act.what not in ("mark", "open")
        if there:
            yield Left(number, f"killed before {act}", seen(disk))
            if act.what == "write" and len(act.content) > 1:
                torn = copy.deepcopy(disk)
                torn.do(half(act))
                yield Left(number, f"killed in {act}", seen(torn))
        disk.do(act)
        if there:
            yield Left(number, f"killed after {act}", seen(disk))
            for how, names, data in (*CUTS, *[("some of it", None, "random")] * draws):
                some: Choose = lambda changes: [each for each in changes if draw.random() < 0.5]  # noqa: E731
                left = after_power_cut(disk, names or some, data, draw)
                yield Left(number, f"power cut after {act}, which kept {how}", left)


CUTS: tuple[tuple[str, Choose, str], ...] = (
    ("nothing that waited", lambda changes: [], "nothing"),
    ("names, no contents", lambda changes: changes, "nothing"),
    ("names, half of the contents", lambda changes: changes, "half"),
    ("names, and zeros for contents", lambda changes: changes, "zeros"),
)
