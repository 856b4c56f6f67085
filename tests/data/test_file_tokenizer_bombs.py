"""A tokenizer.json of a stranger: steps that never end, an empty vocabulary, no regular file."""

from __future__ import annotations

import base64
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_file_tokenizer import END, byte_level, message

from ngptlab.data.tokens import file_tokenizer
from ngptlab.data.tokens.choose import tokenizer, tokenizer_name
from ngptlab.data.tokens.text_growth import _growth


def replacing(*steps: tuple[dict[str, str], str]) -> dict[str, Any]:
    made = [{"type": "Replace", "pattern": pattern, "content": content} for pattern, content in steps]
    return {"type": "Sequence", "normalizers": made}


TEN = ({"String": "a"}, "a" * 10)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "fields",
    [
        {"normalizer": replacing(*[TEN] * 12)},
        {"normalizer": {"type": "Sequence", "normalizers": [replacing(*[TEN] * 6)] * 2}},
        {"normalizer": replacing(({"String": "a"}, "b" * 10), *[({"Regex": "."}, "cc")] * 12)},
        {"normalizer": replacing(*[({"Regex": "(?=.)"}, "x")] * 30)},
        {"normalizer": {"type": "Prepend", "prepend": "a" * 1_000_000}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "ByteLevel"}] * 30}},
        {
            "decoder": {
                "type": "Sequence",
                "decoders": [{"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10}] * 12,
            }
        },
    ],
)
def test_steps_that_make_a_text_grow_without_end(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Twelve times ten is a million million letters for one."""
    file = byte_level(tmp_path / "tokenizer.json", END, **fields)
    assert f"{file}: may make a text " in message(lambda: tokenizer(str(file)))


def test_too_many_steps(tmp_path: Path) -> None:
    lower = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}] * 1000}
    file = byte_level(tmp_path / "tokenizer.json", END, normalizer=lower)
    assert "changes a text in 1001 steps, at most 64" in message(lambda: tokenizer(str(file)))


@pytest.mark.parametrize(
    "fields",
    [
        # Llama 2, T5 and ALBERT, with the table in place of which NFKC stands.
        {"normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, *replacing(({"String": " "}, "▁"))["normalizers"]]}},
        {
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "NFKC"}, *replacing(({"Regex": " {2,}"}, " "))["normalizers"]]},
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        },
        {
            "normalizer": {"type": "Sequence", "normalizers": [
                *replacing(({"String": "``"}, '"'), ({"String": "''"}, '"'))["normalizers"],
                {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}, {"type": "NFKC"},
                *replacing(({"Regex": " {2,}"}, " "))["normalizers"]]},
            "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        },
    ],
)  # fmt: skip
def test_steps_of_real_files_are_taken(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert len(tokenizer(str(byte_level(tmp_path / "tokenizer.json", END, **fields))).encode("a  b"))


def charsmap(trie: bytes, entries: bytes) -> dict[str, Any]:
    table = base64.b64encode(len(trie).to_bytes(4, "little") + trie + entries).decode()
    return {"type": "Precompiled", "precompiled_charsmap": table}


def test_a_table_counts_by_its_longest_entry(tmp_path: Path) -> None:
    def growth(*steps: dict[str, Any]) -> float:
        return _growth(list(steps))

    small, large = charsmap(bytes(4), b"abc\0" + b"x" * 33 + b"\0"), charsmap(bytes(4), b"x" * 500 + b"\0")
    assert growth(small) == growth({"type": "NFKD"}, small) == 11
    assert growth(small, small) == 121 and growth(large) == 500
    for raw in ({"type": "Precompiled", "precompiled_charsmap": "AAAA"}, charsmap(b"", b"\xff")):
        file = str(byte_level(tmp_path / "tokenizer.json", END, normalizer=raw))
        assert "precompiled_charsmap is damaged" in message(partial(tokenizer, file))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"type": "WordLevel", "vocab": {}, "unk_token": "[UNK]"}, "its vocabulary is empty"),
        ({"type": "BPE", "vocab": {}, "merges": []}, "its vocabulary is empty"),
        ({"type": "WordLevel", "vocab": {"a": 0, "</s>": 1}, "unk_token": "[UNK]"}, "unknown words, '[UNK]', is not in"),
        ({"type": "BPE", "vocab": {"a": 0, "</s>": 1}, "merges": [], "unk_token": "<unk>"}, "'<unk>', is not in"),
    ],
)  # fmt: skip
def test_a_vocabulary_that_lacks_what_it_needs(tmp_path: Path, model: dict[str, Any], said: str) -> None:
    file = byte_level(tmp_path / "tokenizer.json", END, model=model, added_tokens=[], pre_tokenizer=None)
    assert said in message(lambda: tokenizer(str(file)))


def test_a_text_that_the_library_cannot_take(tmp_path: Path) -> None:
    model = {"type": "Unigram", "vocab": [["a", -1.0], ["</s>", -2.0]], "unk_id": None}
    file = byte_level(tmp_path / "tokenizer.json", END, model=model, added_tokens=[], pre_tokenizer=None)
    vocabulary = tokenizer(str(file))
    assert vocabulary.encode("aa").tolist() == [0, 0]
    said = message(lambda: vocabulary.encode("abc"))
    assert "can't encode a text of 3 characters (Encountered an unknown token" in said


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a": ' * 100_000, b"null", b"\xff", b"", b"{}"])
def test_no_tokenizer_at_all(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    assert "give a tokenizer.json" in message(lambda: tokenizer(str(tmp_path / "tokenizer.json")))


@pytest.mark.timeout(10)
def test_no_regular_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "tokenizer.json")
    said = message(lambda: tokenizer_name(str(tmp_path / "tokenizer.json")))
    assert "can't be read (a FIFO, not a regular file)" in said
    monkeypatch.setattr(file_tokenizer, "FILE_BYTES", 10)
    (tmp_path / "large.json").write_bytes(bytes(11))
    assert "has 11 bytes, at most 10 are read" in message(lambda: tokenizer(str(tmp_path / "large.json")))
