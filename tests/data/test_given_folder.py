"""`shards:DIR`: others' shards as they are, their manifest on first use, and what is checked before every run."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from stand_ins import shard

from ngptlab.cli import main
from ngptlab.config import DataConfig
from ngptlab.data.corpus import Corpus, open_corpus
from ngptlab.data.shards import given_folder as given_folder_module
from ngptlab.data.shards import manifest as manifest_module
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.errors import DataError

EOT = 256
TRAIN = [[EOT, 1, 2, 3, EOT, *[7] * 3000], [8] * 20 + [EOT, 5]]
VAL = [EOT, 10, 11, EOT, 12]


def write_shard(path: Path, tokens: list[int]) -> None:
    path.write_bytes(shard(tokens))


@pytest.fixture
def shards(tmp_path: Path, cache: Path) -> Path:
    folder = tmp_path / "fineweb"
    folder.mkdir()
    write_shard(folder / "fineweb_val_000000.bin", VAL)
    for number, tokens in enumerate(TRAIN, start=1):
        write_shard(folder / f"fineweb_train_{number:06d}.bin", tokens)
    return folder


def opened(folder: Path, vocab_size: int = 257, **fields: object) -> Corpus:
    data = DataConfig.model_validate({"source": f"shards:{folder}", **fields})
    return open_corpus(data, vocab_size=vocab_size, long_min_tokens=10)


def refused(folder: Path, **fields: object) -> str:
    with pytest.raises(DataError) as caught:
        opened(folder, **fields)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_they_are_read_as_they_are(shards: Path) -> None:
    before = {path.name: path.read_bytes() for path in shards.iterdir()}
    corpus = opened(shards)
    flat = [token for tokens in TRAIN for token in tokens]
    assert corpus.train.window(0, len(corpus.train)).tolist() == flat
    assert corpus.val.window(0, len(corpus.val)).tolist() == VAL
    assert len(corpus.long) == 0 and corpus.end_of_text == EOT
    assert {path.name: path.read_bytes() for path in shards.glob("*.bin")} == before
    train = corpus.manifest.splits["train"]
    assert [shard.file for shard in train.shards] == ["fineweb_train_000001.bin", "fineweb_train_000002.bin"]
    assert (train.documents, train.tokens, train.text_bytes, train.max_token) == (3, 3027, 3024, EOT)
    assert [shard.max_token for shard in train.shards] == [EOT, EOT]
    assert corpus.manifest.splits["val"].text_bytes == 3
    assert corpus.manifest.source == "shards:fineweb"


def test_a_long_split_is_by_name(shards: Path) -> None:
    write_shard(shards / "books_long.bin", [EOT, *range(40), EOT, 1])
    corpus = opened(shards)
    assert [document.tolist() for document in corpus.long.documents(30, EOT)] == [list(range(40))]


def test_the_manifest_is_made_once_and_verifies(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = opened(shards).digest
    assert sorted(path.name for path in shards.iterdir() if path.suffix != ".bin") == ["manifest.json"]
    monkeypatch.setattr(given_folder_module, "make_manifest", lambda *_, **__: pytest.fail("scanned again"))
    monkeypatch.setattr(given_folder_module, "check_digest", lambda *_: pytest.fail("digests again"))
    assert opened(shards).digest == digest
    assert main(["data", "verify", str(shards)]) == 0


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_read_only_folder_has_its_manifest_in_the_cache(
    shards: Path, cache: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = manifest_module.write_manifest

    def refuse(manifest: manifest_module.Manifest, path: Path) -> None:
        if path.parent == shards:
            raise OSError(number, os.strerror(number))
        real(manifest, path)

    monkeypatch.setattr(given_folder_module, "write_manifest", refuse)
    digest = opened(shards).digest
    assert all(path.suffix == ".bin" for path in shards.iterdir())
    assert len(list((cache / "shards").glob("*/manifest.json"))) == 1
    monkeypatch.setattr(given_folder_module, "make_manifest", lambda *_, **__: pytest.fail("scanned again"))
    assert opened(shards).digest == digest
    assert main(["data", "verify", str(shards)]) == 0
    assert main(["data", "stats", str(shards)]) == 0


def test_a_full_disk_is_no_read_only_folder(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(given_folder_module, "write_manifest", full)
    assert "can't be written (No space left on device); make room or set NGPTLAB_CACHE" in refused(shards)
    assert all(path.suffix == ".bin" for path in shards.iterdir())


def flip(path: Path, position: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1
    path.write_bytes(raw)


def test_digests_are_compared_once_on_every_machine(
    shards: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that came with the shards is not believed unseen; in the middle, only `verify` looks again."""
    path = shards / "fineweb_train_000001.bin"
    opened(shards)
    flip(path, 1100)
    opened(shards)
    assert main(["data", "verify", str(shards)]) == 2
    shutil.rmtree(cache)  # another machine
    assert f"{path}: has changed, its SHA-256" in refused(shards)
    assert "has changed, its SHA-256" in refused(shards)  # and nothing was noted down
    flip(path, 1100)
    opened(shards)


def damage_tail(path: Path) -> None:
    flip(path, path.stat().st_size - 2)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0\0")


def cut_with_its_header(path: Path) -> None:
    raw = path.read_bytes()
    count = int.from_bytes(raw[8:12], "little") - 1
    path.write_bytes(raw[:8] + count.to_bytes(4, "little") + raw[12:-2])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_tail, "has changed in its last 4096 bytes"),
        (cut, "truncated"),
        (grow, "longer than its header says"),
        (cut_with_its_header, "is truncated"),
        (lambda path: flip(path, 0), "not a shard, wrong magic number"),
        (lambda path: flip(path, 4), "shard of version 0"),
        (Path.unlink, "lists fineweb_train_000002.bin, which is not there"),
    ],
)
def test_damage_is_named_before_a_run(shards: Path, damage: Callable[[Path], None], said: str) -> None:
    opened(shards)
    damage(shards / "fineweb_train_000002.bin")
    message = refused(shards)
    assert said in message and "fineweb_train_000002.bin" in message


def test_a_damaged_record_costs_only_time(shards: Path, cache: Path) -> None:
    opened(shards)
    (record,) = (cache / "checked").iterdir()
    good = record.read_text()
    for content in ("", "{}", "[]", "{"):
        record.write_text(content)
        opened(shards)
        assert record.read_text() == good


def test_new_shards_are_not_taken_in_silently(shards: Path) -> None:
    opened(shards)
    write_shard(shards / "fineweb_train_000003.bin", [EOT, 1])
    message = refused(shards)
    assert "manifest.json: doesn't list fineweb_train_000003.bin" in message and "delete it" in message
    (shards / "manifest.json").unlink()
    assert opened(shards).manifest.splits["train"].documents == 4


def test_the_tokenizer_is_the_shards(shards: Path) -> None:
    write_shard(shards / "fineweb_val_000000.bin", [400, 1])
    message = refused(shards)
    assert "holds token 400, data.tokenizer bytes has 257" in message and "--data.tokenizer gpt2" in message
    assert not (shards / "manifest.json").exists()
    write_shard(shards / "fineweb_val_000000.bin", VAL)
    opened(shards)
    assert "give --data.tokenizer bytes" in refused(shards, tokenizer="gpt2", vocab_size=50304)
    assert "set --model.vocab-size 257" in refused(shards, vocab_size=256)


def test_folders_that_teach(tmp_path: Path, shards: Path) -> None:
    assert "can't be read as a folder (No such file" in refused(tmp_path / "nowhere")
    with pytest.raises(DataError, match="'shards:' names no folder"):
        open_corpus(DataConfig(source="shards:"), vocab_size=257, long_min_tokens=10)
    assert "can't be read as a folder (Not a dir" in refused(shards / "fineweb_val_000000.bin")
    (shards / "fineweb_val_000000.bin").rename(shards / "fineweb_000000.bin")
    message = refused(shards)
    assert "no *val*.bin among fineweb_000000.bin, fineweb_train_000001.bin, " in message
    (shards / "fineweb_000000.bin").rename(shards / "val_of_train.bin")
    assert "is it train or val?" in refused(shards)
    (shards / "val_of_train.bin").write_bytes(np.zeros(1000, dtype="<u2").tobytes())
    (shards / "val_of_train.bin").rename(shards / "val.bin")
    assert "nanoGPT's .bin has no header" in refused(shards)
    for path in shards.iterdir():
        path.unlink()
    assert "among no .bin file" in refused(shards)
    with pytest.raises(DataError, match="'shard:x' is unknown, did you mean 'shards'"):
        open_corpus(DataConfig(source="shard:x"), vocab_size=257, long_min_tokens=10)


def test_a_manifest_of_something_else(shards: Path) -> None:
    (shards / "manifest.json").write_text(json.dumps({"files": []}))
    assert "manifest.json: is no manifest" in refused(shards)


def test_byte_lengths() -> None:
    lengths = tokenizer("bytes").byte_lengths()
    assert lengths.tolist() == [1] * 256 + [0]
