"""The two files of a journal's entry, of which a kill may leave one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ngptlab.data.prepare.journal import HASHES, Journal, clear, read_hashes, read_journal, write_journal
from ngptlab.errors import DataError

HASHED = [bytes([number]) * 32 for number in range(9)]


def entry(documents: int, hashed: list[bytes] = HASHED) -> Journal:
    digest = hashlib.sha256(b"".join(hashed[:documents])).hexdigest()
    return Journal(job="job", documents=documents, hashes_sha256=digest)


def test_hashes_behind_the_last_entry_are_replaced(tmp_path: Path) -> None:
    """Killed between the two files, the next process writes other hashes in their place."""
    write_journal(tmp_path, entry(2), b"".join(HASHED[:2]))
    write_journal(tmp_path, entry(6, HASHED[:2] + HASHED[5:9]), b"".join(HASHED[5:9]))
    assert read_hashes(tmp_path, entry(2)) == HASHED[:2]
    write_journal(tmp_path, entry(5), b"".join(HASHED[2:5]))
    assert read_hashes(tmp_path, entry(5)) == HASHED[:5]
    assert (tmp_path / HASHES).stat().st_size == 5 * 32


def test_hashes_that_are_missing_are_damage(tmp_path: Path) -> None:
    write_journal(tmp_path, entry(2), b"".join(HASHED[:2]))
    (tmp_path / HASHES).write_bytes(HASHED[0])
    with pytest.raises(DataError, match=r"progress\.hashes: damaged; delete the folder"):
        read_hashes(tmp_path, entry(2))
    (tmp_path / HASHES).unlink()
    with pytest.raises(DataError, match=r"progress\.hashes: damaged"):
        read_hashes(tmp_path, entry(2))
    clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_job_that_did_nothing_is_forgotten(tmp_path: Path) -> None:
    write_journal(tmp_path, entry(0))
    assert read_journal(tmp_path, "another job") is None
    write_journal(tmp_path, entry(1), HASHED[0])
    with pytest.raises(DataError, match="begun from other text or with other settings"):
        read_journal(tmp_path, "another job")
