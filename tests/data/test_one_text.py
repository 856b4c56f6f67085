"""One long text, as people bring it: nanoGPT's `input.txt`, WikiText's `.raw`, any name; cut by position, and said so."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ngptlab.cli import main
from ngptlab.config import DataConfig
from ngptlab.data.corpus import Corpus
from ngptlab.data.prepare import text_to_shards
from ngptlab.data.prepare.cut_document import CutDocument
from ngptlab.data.prepare.out_folder import prepare_out_folder
from ngptlab.data.prepare.split_writers import SplitWriters
from ngptlab.data.prepare.text_to_shards import Paused
from ngptlab.data.shards.verify import verify
from ngptlab.data.text.sources import find
from ngptlab.data.tokens.tokenizer import ByteTokenizer
from ngptlab.errors import DataError

Prepared = Callable[..., Corpus]
TEXT = "".join(f"line {number} of a play\n" for number in range(300))


def texts(corpus: Corpus) -> dict[str, str]:
    """Each split's only document; the end of text is token 256."""
    return {
        name: bytes(next(split.documents(0, 256)).tolist()).decode()
        for name, split in (("train", corpus.train), ("val", corpus.val))
    }


@pytest.mark.parametrize("name", ["input.txt", "wiki.train.raw", "PLAY", "a.tex", "log.2024"])
def test_one_text_is_cut_by_position(name: str, tmp_path: Path, prepared: Prepared) -> None:
    (tmp_path / name).write_text(TEXT)
    corpus = prepared(tmp_path / name, val_share=0.1)
    split = texts(corpus)
    assert split["train"] + split["val"] == TEXT
    assert split["train"].endswith("\n"), "between two lines"
    assert 0.1 <= len(split["val"]) / len(TEXT) <= 0.15
    said = corpus.manifest.cut
    assert f"text:{name} is one document" in said and f"{len(split['val']):,} (" in said


def test_a_text_in_copies_and_among_blanks_is_one(tmp_path: Path, prepared: Prepared) -> None:
    for name, text in (("a.txt", " \n"), ("b.txt", TEXT), ("c.txt", TEXT)):
        (tmp_path / name).write_text(text)
    assert texts(prepared(tmp_path))["train"] == TEXT[: len(texts(prepared(tmp_path))["train"])]


def test_two_texts_are_split_as_ever(tmp_path: Path, prepared: Prepared) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text(TEXT[:500])
    corpus = prepared(tmp_path)
    assert not corpus.manifest.cut and set(texts(corpus).values()) == {TEXT, TEXT[:500]}
    assert "cut" not in json.loads((corpus.folder / "manifest.json").read_text()), (
        "manifests are what they were"
    )


@pytest.mark.parametrize("text", ["a", "ab ", " a \n"])
def test_a_text_too_short_to_cut(text: str, tmp_path: Path, failure: Callable[..., str]) -> None:
    (tmp_path / "a.txt").write_text(text)
    assert "holds one document" in failure(tmp_path / "a.txt")


def test_a_folder_of_other_names(tmp_path: Path, prepared: Prepared) -> None:
    """Where no file has a suffix that is known, all that may be text is read; else those that are known, as ever."""
    for name in ("wiki.train.raw", "wiki.valid.raw", ".hidden", "picture.png"):
        (tmp_path / name).write_text(f"{name} {TEXT}")
    assert {text.split()[0] for text in texts(prepared(tmp_path)).values()} == {
        "wiki.train.raw",
        "wiki.valid.raw",
    }
    (tmp_path / "a.txt").write_text(f"a {TEXT}")
    assert texts(prepared(tmp_path))["train"].startswith("a line")


def test_what_is_no_text_is_named(tmp_path: Path, failure: Callable[..., str]) -> None:
    (tmp_path / "text.txt.gz").write_bytes(b"\x1f\x8b")
    assert "unpack" in failure(tmp_path / "text.txt.gz")
    (tmp_path / "blob.raw").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in failure(tmp_path / "blob.raw")


def test_a_cut_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the first pass, between the two, and in the second; the bytes are those of one that was not stopped."""
    (tmp_path / "a.txt").write_text(TEXT)
    data = DataConfig(source=f"text:{tmp_path / 'a.txt'}", val_share=0.2)
    monkeypatch.setattr(text_to_shards, "BATCH_BYTES", 1)  # each piece is a batch, after which it may stop
    straight = prepare_out_folder(data, tmp_path / "straight", long_min_tokens=40, workers=1)
    stops = 0
    for _ in range(5):
        try:
            again = prepare_out_folder(
                data, tmp_path / "out", long_min_tokens=40, workers=1, stopped=lambda: True
            )
            break
        except Paused:
            stops += 1
    assert stops == 3 and again == straight
    names = sorted(path.name for path in (tmp_path / "straight").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "out").iterdir())
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
    verify(tmp_path / "out")


@pytest.mark.parametrize("killed", [0, 1, 2, 3])
def test_what_is_left_out_is_counted_through_a_kill(
    killed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In either pass, before anything of it is done and after."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text(TEXT)
    (tmp_path / "texts" / "b.txt").write_bytes(b"\xff")
    data = DataConfig(source=f"text:{tmp_path / 'texts'}", val_share=0.2)
    monkeypatch.setattr(text_to_shards, "BATCH_BYTES", 1)
    place, places = SplitWriters.flush, 0

    def flush(writers: SplitWriters) -> None:
        nonlocal places
        places += 1
        if places == killed:
            raise KeyboardInterrupt
        place(writers)

    monkeypatch.setattr(SplitWriters, "flush", flush)
    given = {"long_min_tokens": 40, "workers": 1, "skip_bad": True}
    if killed:
        with pytest.raises(KeyboardInterrupt):
            prepare_out_folder(data, tmp_path / "out", **given)  # type: ignore[arg-type]
    manifest = prepare_out_folder(data, tmp_path / "out", **given)  # type: ignore[arg-type]
    assert manifest.left_out == 1 and "is one document" in manifest.cut


def test_a_text_that_has_no_tokens_is_not_the_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left out of the corpus, so it must not be what is cut in its place."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("unheard " * 100)
    (tmp_path / "texts" / "b.txt").write_text(TEXT)
    data = DataConfig(source=f"text:{tmp_path / 'texts'}", val_share=0.2)
    encode = ByteTokenizer.encode_documents

    def refusing(tokenizer: ByteTokenizer, texts: list[str]) -> object:
        if any("unheard" in text for text in texts):
            raise DataError("no token for it")
        return encode(tokenizer, texts)

    monkeypatch.setattr(ByteTokenizer, "encode_documents", refusing)
    manifest = prepare_out_folder(data, tmp_path / "out", long_min_tokens=40, workers=1, skip_bad=True)
    first, last = re.findall(r"(?:first|last) ([\d,]+)", manifest.cut)
    assert int(first.replace(",", "")) + int(last.replace(",", "")) == len(TEXT) and manifest.left_out >= 1


def test_it_is_cut_where_a_word_ends_at_least(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("word " * 100)
    cut = CutDocument(
        find(f"text:{tmp_path / 'a.txt'}"), hashlib.sha256(b"word " * 100).hexdigest(), share=0.1
    )
    first, last = (document.text for document in cut.read(0))
    assert first.endswith("word ") and last.startswith("word ")


def test_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "input.txt").write_text(TEXT)
    out = str(tmp_path / "shards")
    assert main(["data", "prepare", str(tmp_path / "input.txt"), "--tokenizer", "bytes", "--out", out]) == 0
    assert "is one document, so it is cut by position" in capsys.readouterr().out
