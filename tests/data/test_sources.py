"""Documents: which, in what order, and what is said when they can't be read."""

from __future__ import annotations

import json
import os
import random
import shutil
import sysconfig
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from ngptlab.data.text.sources import Document, documents
from ngptlab.errors import DataError


def lines(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text, "url": "x"}) + "\n" for text in texts).encode()


def failure(source: str) -> str:
    with pytest.raises(DataError) as caught:
        list(documents(source))
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- the standard library -----------------------------------------------------------------------------------


def test_stdlib_is_there_and_leaves_out_tests_and_installed_packages() -> None:
    found = list(documents("stdlib"))
    names = [document.name for document in found]
    assert names == sorted(names)
    assert {"json/decoder.py", "ast.py"} <= set(names)
    parts = {part for name in names for part in name.split("/")}
    assert parts.isdisjoint({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})
    assert sum(len(document.text.encode()) for document in found) > 5_000_000


def test_stdlib_survives_a_distribution_that_patched_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ast.py").write_bytes(b"caf\xe9 = 1\n")
    (tmp_path / "_sysconfigdata__linux.py").write_text("prefix = '/home/builder'\n")
    (tmp_path / "config-3.11-linux").mkdir()
    (tmp_path / "config-3.11-linux" / "python-config.py").write_text("pass\n")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "config-like.py").write_text("pass\n")
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    assert list(documents("stdlib")) == [
        Document("ast.py", "caf\ufffd = 1\n"),
        Document("xml/config-like.py", "pass\n"),
    ]


def test_stdlib_without_source_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    assert "text:PATH" in failure("stdlib")


# --- files and folders --------------------------------------------------------------------------------------


def test_a_folder_in_the_order_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.MD").write_text("two")
    (tmp_path / "b" / "10.txt").write_text("ten")
    (tmp_path / "a.py").write_text("a = 1\n")
    (tmp_path / "c.jsonl").write_bytes(lines("first", "second"))
    (tmp_path / "d.jsonl.zst").write_bytes(zstandard.compress(lines("packed")))
    (tmp_path / "ignored.csv").write_text("no")
    assert list(documents(f"text:{tmp_path}")) == [
        Document("a.py", "a = 1\n"),
        Document("b/10.txt", "ten"),
        Document("b/2.MD", "two"),
        Document("c.jsonl:1", "first"),
        Document("c.jsonl:2", "second"),
        Document("d.jsonl.zst:1", "packed"),
    ]


def test_text_is_as_stored(tmp_path: Path) -> None:
    text = "one\r\ntwo\rthree\u2028four\x00 é 🙂"
    (tmp_path / "a.txt").write_bytes(text.encode())
    (tmp_path / "b.jsonl").write_bytes(b"\xef\xbb\xbf" + lines(text) + b"\n   \n" + lines("last").rstrip())
    assert [d.text for d in documents(f"text:{tmp_path}")] == [text, text, "last"]


def test_one_file_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list(documents("text:~/a.txt")) == [Document("a.txt", "a")]


def test_zst_of_many_frames_with_lines_across_them(tmp_path: Path) -> None:
    texts = [random.Random(seed).randbytes(30_000).hex() for seed in range(8)]
    raw = lines(*texts)
    frames = [zstandard.compress(raw[low : low + 70_001]) for low in range(0, len(raw), 70_001)]
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"any"
    file = tmp_path / "a.jsonl.zst"
    file.write_bytes(skippable.join([b"", *frames]) + skippable)
    assert [document.text for document in documents(f"text:{file}")] == texts


def test_zst_is_never_whole_in_memory(tmp_path: Path) -> None:
    texts = [random.Random(seed).randbytes(10_000).hex() for seed in range(400)]  # 8 MB
    file = tmp_path / "a.jsonl.zst"
    file.write_bytes(zstandard.compress(lines(*texts)))
    del texts
    tracemalloc.start()
    try:
        count = sum(1 for _ in documents(f"text:{file}"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 400
    assert peak < 1_000_000


# --- what is said -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("stdlb", "did you mean 'stdlib'?"),
        ("txt:folder", "did you mean 'text'?"),
        ("qqqq", "allowed: shards, stdlib, text"),
        ("text:", "names no path"),
    ],
)
def test_unknown_source_names_the_nearest(source: str, hint: str) -> None:
    message = failure(source)
    assert repr(source) in message and hint in message and "text:PATH" in message


def test_a_bare_path_is_told_its_prefix(tmp_path: Path) -> None:
    assert f"did you mean 'text:{tmp_path}'?" in failure(str(tmp_path))


def test_missing_path_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"nowhere: can't be read \(No such file or directory\); give stdlib, text:PATH"
    ):
        documents(f"text:{tmp_path}/nowhere")  # not even iterated


def test_no_matching_file(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_text("1,2")
    for place in (tmp_path, tmp_path / "picture.png"):
        message = failure(f"text:{place}")
        assert str(place) in message and ".jsonl.zst" in message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'["text"]', "holds list"),
        (b'"text"', "holds str"),
        (
            b'{"content": "a", "id": 1}',
            "keys ['content', 'id'], none is 'text'; name one with --column, an option of",
        ),
        (b'{"text": 3}', "'text' holds int"),
        (b'{"text": "a"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"9" * 5_000, "not JSON"),
        (b'{"text": "\\ud800"}', "not valid Unicode"),
        (b'{"text": "\xff"}', "not UTF-8"),
    ],
)
def test_a_wrong_line_is_named_by_file_and_number(tmp_path: Path, line: bytes, said: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(lines("good") + b"\n" + line + b"\n" + lines("never reached"))
    message = failure(f"text:{file}")
    assert f"{file}, line 3: " in message and said in message


def test_undecodable_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("déjà".encode("latin-1"))
    message = failure(f"text:{tmp_path}")
    assert "latin.txt: not UTF-8 (byte 1" in message and "convert it" in message


def test_truncated_zst_at_any_place(tmp_path: Path) -> None:
    whole = zstandard.compress(lines(random.Random(0).randbytes(40_000).hex(), "b"))
    file = tmp_path / "a.jsonl.zst"
    for kept in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:kept])
        assert "a.jsonl.zst: truncated" in failure(f"text:{file}"), kept


def test_damaged_zst(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl.zst"
    file.write_bytes(b"this is not zstd")
    assert "a.jsonl.zst: damaged zstd data" in failure(f"text:{file}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_and_folder(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.txt").write_text("a")
    (tmp_path / "below" / "a.txt").chmod(0)
    assert "Permission denied" in failure(f"text:{tmp_path}")
    (tmp_path / "below").chmod(0)
    try:
        assert "Permission denied" in failure(f"text:{tmp_path}")
    finally:
        (tmp_path / "below").chmod(0o700)


def test_a_folder_that_cannot_be_listed_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "below").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "below":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert "below: can't be read (Permission denied)" in failure(f"text:{tmp_path}")


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(name)
    reading = documents(f"text:{tmp_path}")
    next(reading)
    shutil.rmtree(tmp_path)
    with pytest.raises(DataError, match=r"b\.txt: can't be read"):
        next(reading)
