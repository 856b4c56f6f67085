"""Documents that can't be used: named with file, line and length; or left out, counted and recorded."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stand_ins import Killed
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers

from ngptlab.cli import main
from ngptlab.config import DataConfig
from ngptlab.data.prepare import bad_documents, split_writers, text_to_shards
from ngptlab.data.prepare.datatrove_steps import steps
from ngptlab.data.prepare.out_folder import prepare_out_folder
from ngptlab.data.shards.manifest import read_manifest
from ngptlab.data.shards.verify import verify
from ngptlab.errors import DataError

UNKNOWN = "a word that is missing"
GOOD = [f"a {'b ' * number}c" for number in range(30)]


@pytest.fixture
def words(tmp_path: Path) -> str:
    """A tokenizer that can't take a text with a word that it doesn't know."""
    library = Library(
        models.Unigram([("a", -1.0), ("b", -1.0), ("c", -1.0), ("</s>", -2.0)], byte_fallback=False)
    )
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.save(str(tmp_path / "words.json"))
    return str(tmp_path / "words.json")


def lines(*records: Any) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Three files, in which four documents can't be read and two, one of them twice, can't be encoded."""
    folder = tmp_path / "texts"
    folder.mkdir()
    known = [{"text": text} for text in GOOD]
    bad = [{"text": 3}, {"text": UNKNOWN}, ["text"], {"other": "b"}, {"text": None}]
    (folder / "0.jsonl").write_text(lines(*known[:10], *bad, *known[10:20]))
    (folder / "1.txt").write_bytes(b"caf\xe9")
    (folder / "2.jsonl").write_text(lines({"text": UNKNOWN}, *known[20:], {"text": f"b {UNKNOWN}"}))
    return folder


def config(texts: Path, words: str) -> DataConfig:
    return DataConfig(source=f"text:{texts}", tokenizer=words, val_share=0.2, long_share=0.3)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_first_one_stops_and_is_named(texts: Path, words: str, tmp_path: Path) -> None:
    def said() -> str:
        with pytest.raises(DataError) as caught:
            prepare_out_folder(config(texts, words), tmp_path / "out", long_min_tokens=5, workers=1)
        assert "\n" not in str(caught.value)
        assert "--bad-documents skip" in str(caught.value)
        return str(caught.value)

    assert f"{texts}/0.jsonl, line 11: 'text' holds int" in said()
    (texts / "0.jsonl").write_text(lines(*({"text": text} for text in GOOD)))
    assert f"{texts}/1.txt: not UTF-8 (byte 3" in said()
    (texts / "1.txt").unlink()
    assert "text:texts, 2.jsonl:1: its 22 characters can't be encoded (tokenizers:" in said()


@pytest.mark.parametrize("workers", [1, 3])
def test_they_are_left_out_and_counted(texts: Path, words: str, tmp_path: Path, workers: int) -> None:
    said: list[str] = []
    manifest = prepare_out_folder(
        config(texts, words),
        tmp_path / "out",
        long_min_tokens=5,
        workers=workers,
        skip_bad=True,
        note=said.append,
    )
    assert manifest.left_out == 6
    assert len(said) == 6 and all(line.startswith("left out: ") for line in said)
    assert sum(split.documents for split in manifest.splits.values()) == len(GOOD)
    assert read_manifest(tmp_path / "out" / "manifest.json", "") == manifest
    assert sum(verify(tmp_path / "out").compared.values()) == len(GOOD)


def test_where_none_is_left_out_the_manifest_is_what_it_was(texts: Path, words: str, tmp_path: Path) -> None:
    """Its bytes, and so its place in the cache; and its digest, which says what the tokens are."""
    bad = prepare_out_folder(
        config(texts, words), tmp_path / "bad", long_min_tokens=5, workers=1, skip_bad=True
    )
    (texts / "1.txt").unlink()
    (texts / "0.jsonl").write_text(lines(*({"text": text} for text in GOOD[:20])))
    (texts / "2.jsonl").write_text(lines(*({"text": text} for text in GOOD[20:])))
    good = prepare_out_folder(config(texts, words), tmp_path / "good", long_min_tokens=5, workers=1)
    assert good.digest == bad.digest and good != bad
    assert "left_out" not in (tmp_path / "good" / "manifest.json").read_text()
    assert "left_out" not in good.model_dump_json() and "left_out" in bad.model_dump_json()


def test_few_are_shown(texts: Path, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bad_documents, "SHOWN", 2)
    said: list[str] = []
    prepare_out_folder(
        config(texts, words), tmp_path / "out", long_min_tokens=5, workers=1, skip_bad=True, note=said.append
    )
    assert len(said) == 3 and said[2] == "more documents that are left out are counted and not shown"


@pytest.mark.parametrize("calls", range(0, 40, 3))
def test_after_a_kill_each_counts_once(
    texts: Path, words: str, tmp_path: Path, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_to_shards, "BATCH_BYTES", 20)
    monkeypatch.setattr(text_to_shards, "SAVE_BYTES", 40)
    monkeypatch.setattr(text_to_shards, "BATCH_FAULTS", 2)
    straight = prepare_out_folder(
        config(texts, words), tmp_path / "straight", long_min_tokens=5, workers=1, skip_bad=True
    )
    real, left = split_writers.SplitWriters.flush, [calls]

    def counted(self: split_writers.SplitWriters) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split_writers.SplitWriters, "flush", counted)
        with contextlib.suppress(Killed):
            prepare_out_folder(
                config(texts, words), tmp_path / "killed", long_min_tokens=5, workers=1, skip_bad=True
            )
    again = prepare_out_folder(
        config(texts, words), tmp_path / "killed", long_min_tokens=5, workers=1, skip_bad=True
    )
    assert again == straight and straight.left_out == 6
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "straight")


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 5])
def test_many_machines_leave_out_the_same(texts: Path, words: str, tmp_path: Path, num_ranks: int) -> None:
    prepare_out_folder(
        config(texts, words), tmp_path / "straight", long_min_tokens=5, workers=1, skip_bad=True
    )
    given = {"long_min_tokens": 5, "bad_documents": "skip"}
    encode, merge = steps(config(texts, words), tmp_path / "out", tmp_path / "scratch", **given)  # type: ignore[arg-type]
    for rank in range(num_ranks):
        encode(None, rank, num_ranks)
    merge()
    assert files_of(tmp_path / "out") == files_of(tmp_path / "straight")
    stop, _ = steps(config(texts, words), tmp_path / "out2", tmp_path / "scratch2")
    with pytest.raises(DataError, match="--bad-documents skip"):
        stop(None, 0, 1)


def test_nothing_but_bad_ones(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines({"content": "x"}, {"content": "y"}))
    data = DataConfig(source=f"text:{tmp_path / 'a.jsonl'}")
    said: list[str] = []
    with pytest.raises(DataError, match="an empty corpus"):
        prepare_out_folder(
            data, tmp_path / "out", long_min_tokens=5, workers=1, skip_bad=True, note=said.append
        )
    assert "none is 'text'; name one with --column, an option of `ngptlab data prepare`" in said[0]


def test_the_command(texts: Path, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "data",
        "prepare",
        str(texts),
        "--out",
        str(tmp_path / "out"),
        "--tokenizer",
        words,
        "--val-share",
        "0.2",
    ]
    assert main(command) == 2
    assert "0.jsonl, line 11: 'text' holds int" in capsys.readouterr().err
    assert main([*command, "--bad-documents", "skip"]) == 0
    out, err = capsys.readouterr()
    assert "left out: 6 documents of the source that can't be read or encoded" in out
    assert "left out: text:texts, 2.jsonl:12: its 24 characters can't be encoded" in err
    assert main([*command, "--bad-documents", "skip"]) == 0  # done already
    assert "left out: 6 documents" in capsys.readouterr().out


def test_a_run_says_what_to_do_about_a_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny: list[str]
) -> None:
    (tmp_path / "a.jsonl").write_text(lines({"content": "x"}, {"content": "y"}))
    assert main(["train", "demo", *tiny, "--data.source", f"text:{tmp_path / 'a.jsonl'}"]) == 2
    said = capsys.readouterr().err
    assert "--column, an option of `ngptlab data prepare`; a run reads the shards that it makes" in said


def test_null_is_no_document(tmp_path: Path, make_folder: Callable[[int], Path]) -> None:
    """In lines as in tables and data sets (test_tables.py, test_dataset_stream.py)."""
    folder = make_folder(5)
    (folder / "a.jsonl").write_text(lines({"text": "one"}, {"text": None}, {"text": "two"}))
    manifest = prepare_out_folder(
        DataConfig(source=f"text:{folder}"), tmp_path / "out", long_min_tokens=5, workers=1
    )
    assert sum(split.documents for split in manifest.splits.values()) == 7 and manifest.left_out == 0
