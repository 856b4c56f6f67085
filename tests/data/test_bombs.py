"""Files of a few bytes that unpack to more than any memory, and those that never end: what is held has a bound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from ngptlab.cli import main
from ngptlab.data.text import formats, sources
from ngptlab.data.text.formats import Document
from ngptlab.errors import DataError

LIMIT = 100


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "DOCUMENT_BYTES", LIMIT)


def read(place: Path) -> list[Document]:
    source = sources.find(f"text:{place}")
    return [document for part in range(source.num_parts) for document in source.read(part)]


def failure(place: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(sources.documents(f"text:{place}"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lines(*texts: str) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def table(file: Path, rows: list[Any], **options: Any) -> Path:
    pa = pytest.importorskip("pyarrow", reason="needs ngptlab[data]")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        pa.table({"number": list(range(len(rows))), "text": pa.array(rows, pa.string())}), file, **options
    )
    return file


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_a_long_line_is_named_and_the_others_are_read(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "READ_BYTES", chunk)
    exact = "x" * (LIMIT - len('{"text": ""}'))
    texts = ["a", exact, "b", exact + "x", "c", "long" * 1000, "d", exact + "y"]
    for name, raw in (("a.jsonl", lines(*texts)), ("b.jsonl.zst", zstandard.compress(lines(*texts)))):
        (tmp_path / name).write_bytes(raw.removesuffix(b"\n"))
        found = read(tmp_path / name)
        assert [d.text for d in found] == ["a", exact, "b", "", "c", "", "d", ""]
        said = "line 4: has more than the 100 bytes that a document may have; split it"
        assert found[3].fault == f"{tmp_path / name}, {said}" and found[3].name == f"{name}:4"
        assert [bool(d.fault) for d in found] == [False, False, False, True, False, True, False, True]
        assert said in failure(tmp_path / name)


@pytest.mark.usefixtures("small")
def test_a_long_file_is_named_and_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(5 << 30)  # takes no room on the disk
    (tmp_path / "b.txt").write_text("b" * LIMIT)
    first, second = read(tmp_path)
    assert first.fault.endswith(
        "a.txt: has 5368709120 bytes, more than the 100 bytes that a document may have; split it"
    )
    assert second.text == "b" * LIMIT


def test_a_chunk_of_a_bomb_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call unpacks no more than 8 MiB, whatever the file holds."""
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(bytes(64 << 20), 19))
    sizes = [len(chunk) for chunk in formats._decompressed(tmp_path / "a.jsonl.zst", lambda count: None)]
    assert sum(sizes) == 64 << 20 and max(sizes) <= 8 << 20


@pytest.mark.extra
@pytest.mark.usefixtures("small")
def test_a_long_row_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    file = table(tmp_path / "a.parquet", ["a", "b" * LIMIT, "c" * (LIMIT + 1), None, "d"])
    found = read(file)
    assert [d.text for d in found] == ["a", "b" * LIMIT, "", "d"]
    assert found[2].fault == (
        f"{file}, row 3: has 101 bytes, more than the 100 bytes that a document may have; split it"
    )


@pytest.mark.extra
def test_rows_that_share_one_long_text_come_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dictionary holds it once, whatever the number of rows."""
    monkeypatch.setattr(formats, "ROWS_BYTES", 10_000)
    file = table(tmp_path / "a.parquet", ["x" * 4000] * 300)
    metadata = pytest.importorskip("pyarrow.parquet").ParquetFile(file).metadata
    assert 1 <= formats._rows_at_once(metadata.row_group(0), "text", file) <= 2
    assert [len(d.text) for d in read(file)] == [4000] * 300


@pytest.mark.extra
@pytest.mark.usefixtures("small")
def test_a_column_that_unpacks_to_more_than_text_does(tmp_path: Path) -> None:
    file = table(tmp_path / "a.parquet", ["x" * 90_000] * 2, compression="zstd", use_dictionary=False)
    said = failure(file)
    assert said.startswith(f"{file}: its column 'text' unpacks from ") and "which no text does" in said


@pytest.mark.extra
@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_of_a_table_end_in_one_line(tmp_path: Path, seed: int) -> None:
    import random

    draw = random.Random(seed)
    whole = table(tmp_path / "a.parquet", [f"text {number}" * 5 for number in range(200)]).read_bytes()
    for _ in range(60):
        raw = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        (tmp_path / "a.parquet").write_bytes(raw)
        try:
            list(sources.documents(f"text:{tmp_path / 'a.parquet'}"))
        except DataError as error:
            assert "\n" not in str(error)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.jsonl.zst", "a.parquet"])
def test_what_is_no_regular_file(tmp_path: Path, name: str) -> None:
    if name == "a.parquet":
        pytest.importorskip("pyarrow", reason="needs ngptlab[data]")
    os.mkfifo(tmp_path / name)
    assert f"{name}: can't be read (a FIFO, not a regular file)" in failure(tmp_path / name)
    (tmp_path / f"zero-{name}").symlink_to("/dev/zero")
    assert "can't be read (a device, not a regular file)" in failure(tmp_path / f"zero-{name}")


PREPARE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
from ngptlab.cli import main
sys.exit(main(["data", "prepare", sys.argv[2], "--out", sys.argv[3], "--tokenizer", "bytes"]))
"""


def under_a_limit(place: Path, limit: int, code: int = 2) -> str:
    """What `data prepare` says with so many bytes of memory, mapped libraries included."""
    command = [sys.executable, "-c", PREPARE, str(limit), str(place), str(place.parent / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == code and "Traceback" not in done.stderr, done.stderr[-2000:]
    return done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_line_of_two_gigabytes(tmp_path: Path) -> None:
    packer = zstandard.ZstdCompressor().compressobj()
    with (tmp_path / "a.jsonl.zst").open("wb") as file:
        file.write(packer.compress(b'{"text": "'))
        for _ in range(2048):
            file.write(packer.compress(b"a" * (1 << 20)))
        file.write(packer.compress(b'"}\n') + packer.flush())
    assert "a.jsonl.zst, line 1: has more than the 268435456 bytes" in under_a_limit(
        tmp_path / "a.jsonl.zst", 2 << 30
    )


@pytest.mark.slow
def test_a_text_of_five_gigabytes(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(5 << 30)
    assert "a.txt: has 5368709120 bytes" in under_a_limit(tmp_path / "a.txt", 2 << 30)
    (tmp_path / "a.txt").rename(tmp_path / "a.jsonl")
    assert "a.jsonl, line 1: has more than" in under_a_limit(tmp_path / "a.jsonl", 2 << 30)


@pytest.mark.slow
@pytest.mark.extra
@pytest.mark.parametrize("options", [{}, {"compression": "zstd", "use_dictionary": False}])
def test_a_table_of_some_gigabytes(tmp_path: Path, options: dict[str, Any]) -> None:
    file = table(tmp_path / "a.parquet", ["x" * 8_000_000] * 200, **options)
    assert file.stat().st_size < 500_000
    if options:
        assert "which no text does" in under_a_limit(file, 2 << 30)
    else:  # one document and its copies, which is cut
        under_a_limit(file, 2 << 30, code=0)


def test_memory_that_runs_out_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*given: object, **named: object) -> None:
        raise MemoryError

    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setattr(formats.disk, "read_bytes", full)
    assert (
        main(
            [
                "data",
                "prepare",
                str(tmp_path / "a.txt"),
                "--out",
                str(tmp_path / "out"),
                "--tokenizer",
                "bytes",
            ]
        )
        == 2
    )
    assert capsys.readouterr().err.startswith("ngptlab: not enough memory")
