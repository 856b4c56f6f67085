"""A ledger: a file, or a folder of files, with a line for each run, found by the hash of its config."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ngptlab import disk, folders
from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError, DataError, LabError
from ngptlab.json_text import parse_json
from ngptlab.ledger.record import Record, config_of, record_of
from ngptlab.runs import Run, ending_of
from ngptlab.terminal import printable

FILE_BYTES = 1 << 30
"""Most bytes of one file. A run of 600 steps takes 20 kB."""
SUFFIX = ".jsonl"
LOCK = ".ledger.lock"
"""Name of the lock file beside the ledger's files. A process holds it while it writes one of them."""


@dataclass(frozen=True)
class Entry:
    """A line of a ledger."""

    record: Record
    origin: str
    """File and line, for messages."""

    @property
    def hash(self) -> str:
        """Hash of the run's config."""
        return str(self.record.get("hash"))

    @property
    def done(self) -> bool:
        """Whether the run was trained to its end; else it diverged."""
        return ending_of(self.record["summary"]).done

    @property
    def data_digest(self) -> str:
        """Digest of the data that the run read."""
        return str(self.record["env"].get("data_digest", ""))

    @property
    def key(self) -> tuple[str, str]:
        """Key of the run, unique in a ledger: the hash of its config and the digest of its data."""
        return self.hash, self.data_digest

    @property
    def config(self) -> RunConfig:
        """The run's config, after the whole record was verified.

        Raises:
            DataError: the record is damaged.
        """
        return config_of(self.record, self.origin)


class Ledger:
    """The runs of a file ending in .jsonl, or of all such files in a folder. A missing path is an empty ledger.

    Raises:
        ConfigError: the path is a file of another kind.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix != SUFFIX and path.exists() and not path.is_dir():
            raise ConfigError(f"{path}: a ledger is a file ending in {SUFFIX}, or a folder of such files")
        self.path = path

    @property
    def files(self) -> list[Path]:
        """The ledger's files, in order."""
        if self.path.suffix == SUFFIX:
            return [self.path] if self.path.exists() else []
        return sorted(self.path.glob(f"*{SUFFIX}"))

    def entries(self) -> Iterator[Entry]:
        """Every line, in order. A last line that a kill cut short is ignored silently.

        Raises:
            DataError: a line is no record.
        """
        for file in self.files:
            for number, line in enumerate(_lines(file), start=1):
                yield _entry(line, f"{printable(str(file))}, line {number}")

    def add(self, runs: Iterable[Run]) -> list[Run]:
        """Write the new runs among those that are over, and return them. Later evaluations are added to a run's line.

        A recorded run of the same config that was trained elsewhere stays as it is. Runs taken from a ledger are not written.

        Raises:
            LabError: a run or the ledger is damaged, or a run is too long for a line.
            OSError: it can't be written.
        """
        wanted = [run for run in runs if run.ending.over and not run.summary.get("from_ledger")]
        if not wanted:
            return []
        added = []
        with self._locked():
            there = {entry.key: entry for entry in self.entries()}
            for run in wanted:
                entry = Entry(record_of(run), str(run.path))
                before = there.get(entry.key)
                if before is None:
                    self._append(entry)
                elif more := _with_later_evaluations(before, entry):
                    entry = more
                    self._replace(entry)
                else:
                    continue
                there[entry.key] = entry
                added.append(run)
        return added

    def problems(self) -> list[str]:
        """Errors in the ledger's lines: wrong hashes, digests or fields, and runs that occur twice."""
        found: list[str] = []
        seen: dict[tuple[str, str], str] = {}
        for file in self.files:
            for number, line in enumerate(_lines(file), start=1):
                origin = f"{printable(str(file))}, line {number}"
                try:
                    entry = _entry(line, origin)
                    _ = entry.config
                except LabError as error:
                    found.append(str(error))
                    continue
                if entry.key in seen:
                    found.append(f"{origin}: run {entry.hash} is at {seen[entry.key]} too; take one out")
                seen[entry.key] = origin
        return found

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        folder = self.path.parent if self.path.suffix == SUFFIX else self.path
        folders.make(folder)
        with disk.locked(folder / LOCK, wait=True):
            yield

    def _append(self, entry: Entry) -> None:
        name, line = entry.record["config"]["name"], _line(entry)
        file = self.path if self.path.suffix == SUFFIX else self.path / f"{name}{SUFFIX}"
        if file.exists() and (end := _content(file).rpartition(b"\n")[2]):
            if _is_whole(end):
                disk.append(file, "\n")  # an editor removed the last line end
            else:
                disk.truncate(file, file.stat().st_size - len(end))
        disk.append(file, line)

    def _replace(self, entry: Entry) -> None:
        new = _line(entry).encode()
        for file in self.files:
            lines = list(_lines(file))
            own = [_entry(line, str(file)).key == entry.key for line in lines]
            if any(own):
                kept = [new if same else line + b"\n" for line, same in zip(lines, own, strict=True)]
                disk.write_bytes(file, b"".join(kept))
                return


def is_ledger(file: Path) -> bool:
    """Whether a .jsonl file begins like a ledger. Other .jsonl files have other records."""
    with contextlib.suppress(OSError, ValueError), disk.open_regular(file) as opened:
        return opened.read(20).startswith(b'{"ledger"')
    return False


def _with_later_evaluations(before: Entry, after: Entry) -> Entry | None:
    """The line with later evaluations of the same run; None where there are none, or where the run is another machine's."""
    same = before.record["summary"].get("streams") == after.record["summary"]["streams"]
    measured = {**before.record.get("measured", {}), **after.record["measured"]}
    if not same or measured == before.record.get("measured", {}):
        return None
    return Entry({**before.record, "measured": measured}, after.origin)


def _content(file: Path) -> bytes:
    try:
        return disk.read_bytes(file, limit=FILE_BYTES, longest=disk.RECORD_BYTES)
    except OSError as error:
        raise DataError(f"{file}: can't be read ({error.strerror})") from None


def _lines(file: Path) -> Iterator[bytes]:
    """The lines of a file. A last line without a line end counts only if it is a whole record, because a kill may cut it."""
    content = _content(file)
    yield from disk.lines_of(content)
    if _is_whole(end := content[content.rfind(b"\n") + 1 :]):
        yield end


def _is_whole(line: bytes) -> bool:
    try:
        return isinstance(parse_json(line), dict)
    except ValueError:
        return False


def _line(entry: Entry) -> str:
    """The line of a run.

    Raises:
        DataError: it is so long that nothing in the ledger could be read any more.
    """
    line = json.dumps(entry.record, allow_nan=False, separators=(",", ":"))
    if len(line) > disk.RECORD_BYTES:
        raise DataError(
            f"{printable(entry.origin)}: run {entry.hash} takes {len(line)} bytes in a ledger, whose lines hold "
            f"{disk.RECORD_BYTES} at most; keep its directory, and leave it or --ledger out"
        )
    return line + "\n"


def _entry(line: bytes, origin: str) -> Entry:
    try:
        record = parse_json(line)
    except ValueError as error:
        raise DataError(
            f"{origin}: no JSON ({str(error)[:200]}); restore the file, or take the line out"
        ) from None
    parts = ("config", "env", "summary") if isinstance(record, dict) else ()
    if not parts or not all(isinstance(record.get(part), dict) for part in parts):
        raise DataError(f"{origin}: no record of a run; restore the file, or take the line out")
    return Entry(record, origin)
