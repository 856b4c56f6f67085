"""Files of a stranger: FIFOs, devices, links, bombs. And of ours: two writers, a full disk, a kill."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ngptlab import disk
from ngptlab.json_text import parse_json


@pytest.mark.timeout(10)
def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, kind in (
        (tmp_path / "fifo", "a FIFO"),
        (Path("/dev/zero"), "a device"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(OSError, match=f"{kind}, not a regular file") as caught:
            disk.read_bytes(path)
        assert caught.value.filename == str(path)
        with pytest.raises(OSError, match="not a regular file"):
            disk.check_regular(path)


def test_a_link_to_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("text")
    (tmp_path / "link").symlink_to("there")
    assert disk.read_text(tmp_path / "link") == "text"


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(OSError, match="has 10737418240 bytes, at most 5 are read"):
        disk.read_bytes(tmp_path / "sparse", limit=5)
    (tmp_path / "fits").write_bytes(b"12345")
    assert disk.read_bytes(tmp_path / "fits", limit=5) == b"12345"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("NaN", "no JSON number"),
        ("[-Infinity]", "no JSON number"),
        ("1e999", "too large"),
        ('{"a": 1, "a": 2}', "'a' twice"),
        ("1" * 5_000, "digits"),
        (b"\xff", "utf-8"),
        ("", "Expecting value"),
    ],
)
def test_what_is_no_sound_json_is_one_kind_of_error(text: str | bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_json(text)


def test_a_byte_order_mark_before_json_is_passed_over() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": 1}') == parse_json('\ufeff{"a": 1}') == {"a": 1}


def test_json_goes_through_a_file(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True, {"b": "é"}]}
    disk.write_json(tmp_path / "x.json", value)
    assert disk.read_json(tmp_path / "x.json") == value
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_link_is_replaced_and_never_written_through(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "run" / "summary.json"
    victim.write_text("precious")
    link.parent.mkdir()
    link.symlink_to(victim)
    disk.write_json(link, 1)
    assert not link.is_symlink() and disk.read_json(link) == 1
    for name in ("metrics.jsonl", ".lock"):
        (link.parent / name).symlink_to(victim)
    with pytest.raises(OSError) as caught:
        disk.append(link.parent / "metrics.jsonl", "x\n")
    assert caught.value.errno == errno.ELOOP
    with pytest.raises(OSError), disk.locked(link.parent / ".lock"):
        pass
    assert victim.read_text() == "precious"


@pytest.mark.timeout(10)
def test_no_fifo_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError):
        disk.append(tmp_path / "fifo", "x")
    with pytest.raises(OSError, match="not a regular file"), disk.locked(tmp_path / "fifo"):
        pass


def test_a_lock_keeps_others_out_and_its_file_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("held by hand")
    with disk.locked(tmp_path / ".lock"), pytest.raises(BlockingIOError), disk.locked(tmp_path / ".lock"):
        pass
    with disk.locked(tmp_path / ".lock"):
        pass
    assert (tmp_path / ".lock").read_text() == "held by hand"


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    disk.write_text(tmp_path / "x", "old")
    with pytest.raises(RuntimeError), disk.replacing(tmp_path / "x") as file:
        file.write(b"new")
        raise RuntimeError
    assert disk.read_text(tmp_path / "x") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_killed_writers_file_is_known_as_such(tmp_path: Path) -> None:
    assert disk.is_temporary(disk.temporary_beside(tmp_path / "config.json"))
    assert not disk.is_temporary(tmp_path / "config.json")
    assert disk.temporary_beside(tmp_path / "x") != disk.temporary_beside(tmp_path / "x")


def test_a_full_disk_is_told_with_path_and_bytes(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"No space left on device \(123 bytes to write, \d+ free\)") as caught,
        disk.naming(tmp_path / "big", 123),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / "big")


def test_a_line_without_end_is_refused_before_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for content, fits in (
        (b"ab\n" * 3_000_000, True),
        (b"a" * 3_000_000 + b"\nb\n", False),
        (b"\nb" + b"a" * 2_500_000, False),
    ):
        path.write_bytes(content)
        if fits:
            assert disk.read_bytes(path, longest=2 << 20) == content
            continue
        with pytest.raises(OSError, match="has a line of more than 2097152 bytes"):
            disk.read_bytes(path, longest=2 << 20)
    os.truncate(path, 1 << 30)
    with pytest.raises(OSError, match="has a line of more than"):
        disk.read_bytes(path, limit=1 << 30, longest=2 << 20)


def test_lines_are_those_that_have_an_end() -> None:
    for content in (b"", b"a", b"a\n", b"a\nb", b"\n\na\r\n", b"a\n\nb\n"):
        assert list(disk.lines_of(content)) == content.split(b"\n")[:-1]
