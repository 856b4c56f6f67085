"""The end of a growing file: each line once, whatever the writer is in the middle of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ngptlab import tail as module
from ngptlab.tail import Tail


def line(step: int, **more: Any) -> str:
    return json.dumps({"step": step, **more}) + "\n"


def steps(tail: Tail) -> list[int]:
    return [record["step"] for record in tail.read()]


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_each_line_comes_once_and_a_half_one_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert steps(tail) == []
    append(path, line(1) + line(2)[:5])
    assert steps(tail) == [1] and steps(tail) == []
    append(path, line(2)[5:] + line(3))
    assert steps(tail) == [2, 3] and not tail.fresh


def test_a_file_cut_replaced_or_removed_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(line(1) + line(2) + line(3))
    tail = Tail(path)
    assert steps(tail) == [1, 2, 3]
    path.write_text(line(1))  # shorter, same inode
    assert steps(tail) == [1] and tail.fresh
    path.write_text(line(7) + line(8))  # longer by the next look, same inode, other bytes
    assert steps(tail) == [7, 8] and tail.fresh
    other = tmp_path / "other"
    other.write_text(line(7) + line(8) + line(9))  # what a rewind does
    other.replace(path)
    assert steps(tail) == [7, 8, 9] and tail.fresh
    path.unlink()
    assert steps(tail) == [] and tail.fresh
    path.write_text(line(1))
    assert steps(tail) == [1] and tail.fresh


def test_lines_that_are_no_records_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line(1).encode() + b"{]\n\xff\xfe\n[1]\n3\n\n" + line(2).encode())
    assert steps(Tail(path)) == [1, 2]


def test_a_long_file_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 100)
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(map(line, range(50))))
    tail, got = Tail(path), []
    while piece := steps(tail):
        assert len(piece) <= 100 // len(line(0))
        got += piece
    assert got == list(range(50))


def test_with_a_bound_only_the_end_is_read_and_then_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(map(line, range(1000, 9000))))
    tail = Tail(path, last_bytes=200)
    got = steps(tail)
    assert got[-1] == 8999 and got == list(range(got[0], 9000)) and 5 < len(got) <= 200 // len(line(1000))
    append(path, line(9000))
    assert steps(tail) == [9000] and not tail.fresh
    append(path, "".join(map(line, range(9001, 9901))))
    assert steps(tail)[-1] == 9900 and not tail.fresh
