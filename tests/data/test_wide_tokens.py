"""Shards of 32 bits a token, llm.c's for Llama-3: read, mixed with others, and written where a vocabulary needs them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import Killed, shard
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers

from ngptlab.cli import main
from ngptlab.config import DataConfig
from ngptlab.data.batches import Batches, fixed_windows
from ngptlab.data.corpus import Corpus, open_corpus
from ngptlab.data.prepare import text_to_shards as prepare_module
from ngptlab.data.prepare.datatrove_steps import steps
from ngptlab.data.prepare.out_folder import prepare_out_folder
from ngptlab.data.shards.format import FORMATS
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.shards.verify import verify
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.errors import DataError

EOT = 256
WORDS = 70_000
END = "<|end_of_text|>"
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer of more words than 16 bits tell apart: w0, w1, ... are tokens 2, 3, ..."""
    vocabulary = {"[UNK]": 0, END: 1} | {f"w{number}": number + 2 for number in range(WORDS)}
    library = Library(models.WordLevel(vocabulary, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    library.save(str(path))
    return path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder, draw = tmp_path / "words", random.Random(0)
    folder.mkdir()
    for number in range(60):
        chosen = draw.choices(range(WORDS), k=40)
        (folder / f"{number:02d}.txt").write_text(" ".join(f"w{word}" for word in chosen))
    return folder


def opened(folder: Path, vocab_size: int = 257, **fields: object) -> Corpus:
    data = DataConfig.model_validate({"source": f"shards:{folder}", **fields})
    return open_corpus(data, vocab_size=vocab_size, long_min_tokens=10)


def message(call: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_format_byte_by_byte(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", form=FORMATS[1]) as writer:
        writer.write(np.array([128_000, 7]))
    raw = (tmp_path / "train_000000.bin").read_bytes()
    assert raw == shard([128_000, 7], wide=True)
    assert raw[:12] == (20240801).to_bytes(4, "little") + b"\7\0\0\0" + b"\2\0\0\0"
    assert raw[1024:] == b"\x00\xf4\x01\x00" + b"\7\0\0\0"
    with (
        pytest.raises(DataError, match=r"0\.\.4294967295"),
        ShardWriter(tmp_path, "val", form=FORMATS[1]) as w,
    ):
        w.write(np.array([2**32]))


@settings(max_examples=20)
@given(cuts=st.lists(st.integers(1, 60), max_size=4), wide=st.lists(st.booleans(), min_size=5, max_size=5))
def test_the_same_tokens_give_the_same_batches(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], wide: list[bool]
) -> None:
    """In 16 bits, in 32, and in files of both kinds."""
    folder = tmp_path_factory.mktemp("mixed")
    tokens = np.random.default_rng(0).integers(0, 2**16, 120).tolist()
    edges = [0, *sorted(cuts), len(tokens)]
    (folder / "narrow.bin").write_bytes(shard(tokens))
    paths = [folder / f"{number}.bin" for number in range(len(edges) - 1)]
    for path, low, high, is_wide in zip(paths, edges, edges[1:], wide, strict=False):
        path.write_bytes(shard(tokens[low:high], wide=is_wide))
    narrow, mixed = TokenStream([folder / "narrow.bin"]), TokenStream(paths)
    assert len(narrow) == len(mixed) and narrow.window(0, 120).tolist() == tokens
    one, other = (Batches(stream, context=7, batch_size=3, seed=1) for stream in (narrow, mixed))
    for step in range(9):
        for a, b in zip(one.at(step), other.at(step), strict=True):
            assert a.dtype == b.dtype == np.int64 and (a == b).all()
    for a, b in zip(*(fixed_windows(s, context=7, tokens=50) for s in (narrow, mixed)), strict=True):
        assert (a == b).all()


@pytest.fixture
def mixed(tmp_path: Path, cache: Path) -> Path:
    """Training text in 32 bits, validation in 16."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "train.bin").write_bytes(shard([EOT, *range(50)], wide=True))
    (folder / "val.bin").write_bytes(shard([EOT, *range(60, 90)]))
    return folder


def test_a_folder_of_both_kinds(mixed: Path) -> None:
    corpus = opened(mixed)
    assert corpus.train.window(0, 4).tolist() == [*corpus.val.window(0, 1).tolist(), 0, 1, 2]
    assert [split.tokens for split in corpus.manifest.splits.values()] == [51, 31, 0]
    assert main(["data", "verify", str(mixed)]) == 0 and main(["data", "stats", str(mixed)]) == 0
    raw = bytearray((mixed / "train.bin").read_bytes())
    raw[1024 + 4 + 2] = 1  # token 0 becomes 65536
    (mixed / "train.bin").write_bytes(raw)
    assert "holds token 65536, the bytes tokenizer has 257" in message(lambda: verify(mixed))


def test_tokens_beyond_gpt2_are_not_said_to_be_its(mixed: Path) -> None:
    (mixed / "train.bin").write_bytes(shard([128_000, 5], wide=True))
    said = message(lambda: opened(mixed))
    assert "holds token 128000, data.tokenizer bytes has 257 tokens; name the tokenizer" in said
    assert "GPT-2" not in said


def test_documents_that_agree_in_their_low_bits_are_two(mixed: Path, words: Path) -> None:
    (mixed / "train.bin").write_bytes(shard([1, 65_541, 65_542], wide=True))
    (mixed / "val.bin").write_bytes(shard([1, 5, 6]))
    manifest = {"source": "shards:mixed", "tokenizer": "tokenizers:0", "vocab_size": WORDS, "end_of_text": 1}
    splits: dict[str, object] = {"long": {}}
    for name in ("train", "val"):
        stream = TokenStream([mixed / f"{name}.bin"])
        raw, largest = (mixed / f"{name}.bin").read_bytes(), int(stream.window(0, 3).max())
        digest = hashlib.sha256(raw).hexdigest()
        record = {
            "file": f"{name}.bin",
            "sha256": digest,
            "bytes": len(raw),
            "tokens": 3,
            "max_token": largest,
        }
        counts = {"documents": 1, "tokens": 3, "text_bytes": 6, "max_token": largest}
        splits[name] = {"shards": [record], **counts}
    (mixed / "manifest.json").write_text(json.dumps({**manifest, "splits": splits}))
    assert verify(mixed).compared == {"val": 1, "long": 0, "train": 1}


@pytest.mark.parametrize("wide", [False, True])
def test_damage_is_named(tmp_path: Path, wide: bool) -> None:
    path, raw = tmp_path / "train.bin", shard([1, 2, 3], wide=wide)
    size = len(raw)

    def said(content: bytes) -> str:
        path.write_bytes(content)
        return message(lambda: TokenStream([path]))

    assert f"truncated, {size - 1} bytes where 3 tokens take {size}" in said(raw[:-1])
    assert f"longer than its header says, {size + 2} bytes" in said(raw + b"\0\0")
    version = 7 if wide else 1
    assert (
        f"shard of version 3, with magic number {20240801 if wide else 20240520} only version {version}"
        in said(raw[:4] + b"\3" + raw[5:])
    )
    unknown = said(b"\0\0\0\0" + raw[4:])
    assert "wrong magic number 0; a .bin shard of tokens begins with 20240520 (16 bits a token) or" in unknown
    assert "20240801 (32 bits a token)" in unknown and "nanoGPT's .bin has no header" in unknown


def evaluation() -> bytes:
    """The beginning of a file of llm.c's `hellaswag.py`."""
    header = np.zeros(256, dtype="<i4")
    header[:4] = 20240522, 1, 10_042, 500
    return header.tobytes() + bytes(1000)


def test_an_evaluation_of_llm_c_is_no_validation_text(mixed: Path) -> None:
    """`hellaswag_val.bin` has a name like a shard's."""
    digest = opened(mixed).digest
    (mixed / "hellaswag_val.bin").write_bytes(evaluation())
    assert opened(mixed).digest == digest
    (mixed / "manifest.json").unlink()
    assert opened(mixed).digest == digest
    (mixed / "val.bin").unlink()
    said = message(lambda: opened(mixed))
    assert "no *val*.bin among hellaswag_val.bin, train.bin" in said
    assert "(hellaswag_val.bin is an evaluation of llm.c, not text)" in said
    (mixed / "val.bin").write_bytes(shard([EOT, 1, 2]))
    (mixed / "train.bin").write_bytes(
        (20240522).to_bytes(4, "little") + shard([EOT, 1])[4:]
    )  # of one flipped bit
    assert f"{mixed / 'train.bin'}: not a shard, wrong magic number 20240522" in message(
        lambda: opened(mixed)
    )
    said = message(lambda: TokenStream([mixed / "hellaswag_val.bin"]))
    assert "wrong magic number 20240522 (that of llm.c's evaluations, which are no text)" in said


def test_too_short_a_validation_file_has_advice_that_works(
    mixed: Path, tiny: list[str], tmp_path: Path, capsys: Captured
) -> None:
    command = ["train", "demo", *tiny, "--data.source", f"shards:{mixed}", "--train.context", "40"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "the validation tokens are 31, one window takes 41" in said and "val-share" not in said
    assert f"give another *val*.bin in {mixed} (delete its manifest.json, which is made anew)" in said
    (mixed / "val_more.bin").write_bytes(shard([EOT, *range(20)], wide=True))
    (mixed / "manifest.json").unlink()
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    (mixed / "train.bin").write_bytes(shard([EOT]))
    (mixed / "manifest.json").unlink()
    assert main([*command, "--out", str(tmp_path / "other")]) == 2
    assert f"give another *train*.bin in {mixed} (delete" in capsys.readouterr().err


# --- a vocabulary of more than 65,536 tokens --------------------------------------------------------------------------


def made(texts: Path, words: Path, out: Path) -> dict[str, bytes]:
    data = DataConfig(source=f"text:{texts}", tokenizer=str(words), val_share=0.2, long_share=0.3)
    prepare_out_folder(data, out, long_min_tokens=30, workers=2)
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_prepare_writes_what_it_needs(texts: Path, words: Path, tmp_path: Path) -> None:
    files = made(texts, words, tmp_path / "out")
    assert sorted(files) == ["long_000000.bin", "manifest.json", "train_000000.bin", "val_000000.bin"]
    magics = {name: raw[:4] for name, raw in files.items() if name.endswith(".bin")}
    assert set(magics.values()) == {(20240801).to_bytes(4, "little")}
    assert sum(verify(tmp_path / "out").compared.values()) == 60
    corpus = opened(tmp_path / "out", WORDS + 2, tokenizer=str(words))
    vocabulary = tokenizer(str(words))
    found = {
        vocabulary.decode(ids)
        for stream in (corpus.train, corpus.val, corpus.long)
        for ids in stream.documents(1, corpus.end_of_text)
    }
    assert found == {path.read_text() for path in texts.iterdir()}
    assert corpus.manifest.splits["train"].max_token > 2**16


def test_a_killed_preparation_goes_on(
    texts: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = made(texts, words, tmp_path / "straight")
    monkeypatch.setattr(prepare_module, "SAVE_BYTES", 1500)
    monkeypatch.setattr(prepare_module, "BATCH_BYTES", 500)
    real, left = ShardWriter.write, [25]

    def counted(self: ShardWriter, tokens: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        real(self, tokens)  # type: ignore[arg-type]

    monkeypatch.setattr(ShardWriter, "write", counted)
    with pytest.raises(Killed):
        made(texts, words, tmp_path / "killed")
    assert (tmp_path / "killed" / "progress.json").exists()
    assert made(texts, words, tmp_path / "killed") == straight


def test_many_machines_write_the_same(texts: Path, words: Path, tmp_path: Path) -> None:
    data = DataConfig(source=f"text:{texts}", tokenizer=str(words), val_share=0.2, long_share=0.3)
    encode, merge = steps(data, tmp_path / "out", tmp_path / "scratch", long_min_tokens=30)
    for rank in range(3):
        encode(None, rank, 3)
    merge()
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert files == made(texts, words, tmp_path / "straight")


def test_books_have_the_width_of_their_tokens(texts: Path, words: Path, tmp_path: Path) -> None:
    made(texts, words, tmp_path / "out")
    (tmp_path / "book.txt").write_text("w69999 w1 w2")
    command = ["data", "get", "books", str(tmp_path / "book.txt"), "--tokenizer", str(words)]
    (tmp_path / "out" / "manifest.json").unlink()  # of words, so what their bytes are isn't certain
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    (book,) = (tmp_path / "out").glob("books-*_long_*.bin")
    assert book.read_bytes() == shard([1, 70_001, 3, 4], wide=True)


def test_a_run_on_them(texts: Path, words: Path, tmp_path: Path, tiny: list[str], capsys: Captured) -> None:
    made(texts, words, tmp_path / "out")
    fields = ["--data.source", f"shards:{tmp_path / 'out'}", "--data.tokenizer", str(words)]
    command = ["demo", *tiny, *fields, "--model.vocab-size", str(WORDS + 2)]
    assert main(["plan", *command, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["bytes"] == 4 * data["train_tokens"]
    assert main(["train", *command, "--train.steps", "2", "--out", str(tmp_path / "run")]) == 0
