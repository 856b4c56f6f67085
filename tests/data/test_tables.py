"""Parquet, and columns of other names: which rows are documents, and what is said of a table that can't be read."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngptlab.cli import main
from ngptlab.config import DataConfig
from ngptlab.data.prepare.out_folder import prepare_out_folder
from ngptlab.data.text import formats, sources
from ngptlab.data.text.sources import Document
from ngptlab.errors import DataError

ROWS = st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=20), max_size=40)

extra = pytest.mark.extra


def table(file: Path, rows: list[Any], row_group: int = 7, column: str = "text", **other: list[Any]) -> Path:
    pa = pytest.importorskip("pyarrow", reason="needs ngptlab[data]")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {column: pa.array(rows, pa.string()) if not isinstance(rows, pa.Array) else rows, **other}
    parquet.write_table(pa.table(columns), file, row_group_size=row_group)
    return file


def read(place: Path, column: str = "text") -> list[Document]:
    source = sources.find(f"text:{place}", column=column)
    return list(sources.usable(source))


def failure(place: Path, column: str = "text") -> str:
    with pytest.raises(DataError) as caught:
        read(place, column)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_column_of_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"text": "no", "content": "yes"}) + "\n")
    assert read(file, "content") == [Document("a.jsonl:1", "yes")]
    assert "holds keys ['content', 'text'], none is 'body'; name one with --column" in failure(file, "body")
    assert sources.find(f"text:{file}", column="content").fingerprint() != sources.fingerprint(f"text:{file}")


@extra
@settings(max_examples=30)
@given(rows=ROWS, row_group=st.integers(1, 50), batch=st.integers(1, 50))
def test_rows_are_documents_but_for_nulls(rows: list[str | None], row_group: int, batch: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "ROWS", batch)
        file = table(Path(folder) / "a.parquet", rows, row_group, number=list(range(len(rows))))
        source = sources.find(f"text:{file}")
        found = list(source.read(0))
        assert found == [
            Document(f"a.parquet:{n}", text) for n, text in enumerate(rows, start=1) if text is not None
        ]
        assert not rows or source.share_read() == 1


@extra
def test_every_type_of_string(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs ngptlab[data]")
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        assert [d.text for d in read(table(tmp_path / "a.parquet", pa.array(["é", "b"], kind)))] == ["é", "b"]


@extra
def test_tables_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("first")
    table(tmp_path / "b.PARQUET", ["second", "third"])
    assert [document.text for document in read(tmp_path)] == ["first", "second", "third"]


@extra
def test_a_column_that_is_no_text_names_those_that_are(tmp_path: Path) -> None:
    file = table(tmp_path / "a.parquet", ["x"], column="content", number=[1])
    assert f"{file}: no column 'text'; columns of text here: content; name one with --column" in failure(file)
    assert "column 'number' holds int64; columns of text here: content" in failure(file, "number")
    assert [document.text for document in read(file, "content")] == ["x"]


@extra
@pytest.mark.parametrize("kept", [0, 5, 0.5, -1])
def test_a_damaged_table_is_named(tmp_path: Path, kept: float) -> None:
    file = table(tmp_path / "a.parquet", [f"text {number}" for number in range(500)])
    raw = file.read_bytes()
    file.write_bytes(raw[: int(len(raw) * kept) if isinstance(kept, float) else int(kept)])
    assert f"{file}: damaged parquet" in failure(file)


@extra
def test_text_that_is_no_unicode_is_named(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="needs ngptlab[data]")
    broken = pa.array([b"good", b"\xff"], pa.binary()).view(pa.string())
    file = table(tmp_path / "a.parquet", broken)
    assert f"{file}, row 2: not UTF-8 (byte 0: invalid start byte)" in failure(file)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "needs pyarrow; pip install 'ngptlab[data]'" in failure(tmp_path)


@extra
def test_the_same_text_gives_the_same_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"text {number} " + "word " * (number % 9) for number in range(80)]
    table(tmp_path / "a.parquet", texts, column="content")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    prepare_out_folder(
        DataConfig(source=f"text:{tmp_path / 'a.jsonl'}"), tmp_path / "lines", long_min_tokens=8192, workers=1
    )
    command = ["data", "prepare", str(tmp_path / "a.parquet"), "--tokenizer", "bytes", "--workers", "2"]
    assert main([*command, "--column", "content", "--out", str(tmp_path / "rows")]) == 0
    for name in ("train_000000.bin", "val_000000.bin"):
        assert (tmp_path / "rows" / name).read_bytes() == (tmp_path / "lines" / name).read_bytes()
