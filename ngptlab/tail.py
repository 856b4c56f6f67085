"""The end of a JSON-lines file that another process writes, read as it grows. Imports no torch.

What was read once is not read again. Half-written lines wait until they are whole; a file that is cut short, rewritten or
replaced, as a resumed run does it, is read anew; one that is missing has no lines.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

from ngptlab import disk
from ngptlab.json_text import parse_json

PIECE_BYTES = 1 << 20
"""Most that one call reads: a long file comes in several, and never stands in memory as a whole."""
GUARD_BYTES = 64
"""Bytes before the present place that must still be there; otherwise the file is another one."""


class Tail:
    """Follows one file.

    With `last_bytes`, all but so much of what is new is skipped: the cost of a call then has a bound, however long the
    file is and however much came since the last call.
    """

    def __init__(self, path: Path, *, last_bytes: int | None = None) -> None:
        self.path, self.last_bytes = path, last_bytes
        self.fresh = False
        """Whether the last `read` began the file anew: records given before no longer count."""
        self._start_over()

    def _start_over(self) -> None:
        self._place, self._guard, self._inode = 0, b"", -1

    def read(self) -> list[dict[str, Any]]:
        """The next whole records, at most a piece; empty where there are none yet. A line that is no record is left out."""
        try:
            with disk.open_regular(self.path) as file:
                return self._read(file)
        except OSError:
            self.fresh = self._inode != -1
            self._start_over()
            return []

    def _read(self, file: BinaryIO) -> list[dict[str, Any]]:
        status = os.fstat(file.fileno())
        self.fresh = self._inode == -1 or not self._same(file, status)
        if self.fresh:
            self._start_over()
        self._inode = status.st_ino
        skip = self.last_bytes is not None and status.st_size - self._place > self.last_bytes
        if skip:
            assert self.last_bytes is not None
            self._place, self._guard = status.st_size - self.last_bytes, b""
        file.seek(self._place)
        text = file.read(PIECE_BYTES)
        end = text.rfind(b"\n") + 1
        if not end and len(text) == PIECE_BYTES:
            end = len(text)  # no line of ours is that long
        whole = text[:end]
        self._place += end
        if end:
            self._guard = (self._guard + whole)[-GUARD_BYTES:]
        lines = whole.split(b"\n")[:-1]
        return [record for line in (lines[1:] if skip else lines) if (record := _record(line)) is not None]

    def _same(self, file: BinaryIO, status: os.stat_result) -> bool:
        if status.st_ino != self._inode or status.st_size < self._place:
            return False
        file.seek(self._place - len(self._guard))
        return file.read(len(self._guard)) == self._guard


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = parse_json(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
