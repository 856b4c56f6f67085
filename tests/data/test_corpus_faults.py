"""Every way in which a corpus or its cache can be wrong, and what is said of it."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from ngptlab.data.corpus import Corpus

MakeFolder = Callable[[Iterable[str] | int], Path]
Prepared = Callable[..., Corpus]
Failure = Callable[..., str]
Damage = Callable[[bytes], bytes]


def only_folder(cache: Path) -> Path:
    (folder,) = (cache / "data").glob("[!.]*")
    return folder


def flip(raw: bytes) -> bytes:
    middle = len(raw) // 2
    return raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip, "has changed, its SHA-256"),
        (lambda raw: raw[:-2], "is truncated"),
        (lambda raw: raw + b"\0\0", "is longer than it was"),
    ],
)
@pytest.mark.parametrize("split", ["train", "val", "long"])
def test_a_damaged_shard_is_named_and_kept(
    cache: Path,
    make_folder: MakeFolder,
    split: str,
    damage: Damage,
    said: str,
    prepared: Prepared,
    failure: Failure,
) -> None:
    folder = make_folder(100)
    prepared(folder, long_share=0.3)
    shard = only_folder(cache) / f"{split}_000000.bin"
    damaged = damage(shard.read_bytes())
    shard.write_bytes(damaged)
    message = failure(folder, long_share=0.3)
    assert str(shard) in message and said in message
    assert f"delete the folder {only_folder(cache)} to have it made again" in message
    assert shard.read_bytes() == damaged
    shutil.rmtree(only_folder(cache))  # the advice works
    prepared(folder, long_share=0.3)


def test_a_missing_shard_is_named(
    cache: Path, make_folder: MakeFolder, prepared: Prepared, failure: Failure
) -> None:
    folder = make_folder(30)
    prepared(folder)
    (only_folder(cache) / "val_000000.bin").unlink()
    message = failure(folder)
    assert "val_000000.bin: can't be read" in message and "delete the folder" in message


@pytest.mark.parametrize("content", [None, "{", "{}", '{"format_version": 2}'])
def test_a_damaged_manifest_is_named(
    cache: Path, make_folder: MakeFolder, content: str | None, prepared: Prepared, failure: Failure
) -> None:
    folder = make_folder(30)
    prepared(folder)
    manifest = only_folder(cache) / "manifest.json"
    manifest.unlink() if content is None else manifest.write_text(content)
    message = failure(folder)
    assert str(manifest) in message and "delete the folder" in message


def test_a_manifest_without_a_split_is_damaged(
    cache: Path, make_folder: MakeFolder, prepared: Prepared, failure: Failure
) -> None:
    folder = make_folder(30)
    prepared(folder)
    path = only_folder(cache) / "manifest.json"
    fields = json.loads(path.read_text())
    del fields["splits"]["long"], fields["sha256"]
    path.write_text(json.dumps(fields))
    assert "has splits ['train', 'val']" in failure(folder)


def test_a_vocabulary_too_small_for_the_tokenizer(
    cache: Path, make_folder: MakeFolder, prepared: Prepared, failure: Failure
) -> None:
    folder = make_folder(30)
    said = "the bytes tokenizer has 257 tokens, the model's vocabulary is 256; set --model.vocab-size 257"
    assert said in failure(folder, vocab_size=256)
    assert not (cache / "data").exists()  # before any work
    prepared(folder)
    assert said in failure(folder, vocab_size=256)  # also where it is prepared


def test_a_token_beyond_the_vocabulary(
    cache: Path, make_folder: MakeFolder, prepared: Prepared, failure: Failure
) -> None:
    folder = make_folder(30)
    prepared(folder)
    path = only_folder(cache) / "manifest.json"
    fields = json.loads(path.read_text())
    fields.pop("sha256")
    fields["splits"]["val"]["max_token"] = fields["splits"]["val"]["shards"][0]["max_token"] = 400
    path.write_text(json.dumps(fields))
    message = failure(folder, vocab_size=400)
    assert "val split holds token 400, the model's vocabulary is 400; set --model.vocab-size 401" in message
    prepared(folder, vocab_size=401)


@pytest.mark.parametrize("texts", [[""], ["", " \n\t"]])
def test_an_empty_corpus(cache: Path, make_folder: MakeFolder, texts: list[str], failure: Failure) -> None:
    assert "an empty corpus" in failure(make_folder(texts))


@pytest.mark.parametrize("texts", [["only"], ["same", "same", ""]])
def test_one_document_cannot_be_split(
    cache: Path, make_folder: MakeFolder, texts: list[str], failure: Failure
) -> None:
    message = failure(make_folder(texts))
    assert "holds one document" in message and "several files or lines" in message


def test_an_unwritable_cache_names_its_variable(
    tmp_path: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    folder = make_folder(5)
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    for place in (in_the_way, in_the_way / "below"):
        monkeypatch.setenv("NGPTLAB_CACHE", str(place))
        message = failure(folder)
        assert str(place) in message and "set NGPTLAB_CACHE to a folder" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_without_permission(cache: Path, make_folder: MakeFolder, failure: Failure) -> None:
    folder = make_folder(5)
    cache.mkdir(mode=0o500)
    assert "Permission denied); set NGPTLAB_CACHE" in failure(folder)


def test_a_full_disk_names_the_cache(
    cache: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    def full(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(28, "No space left on device")

    folder = make_folder(5)
    monkeypatch.setattr(os, "fsync", full)
    said = failure(folder)
    assert "can't be written (No space left on device (" in said and "bytes to write" in said
    assert "set NGPTLAB_CACHE" in said
    assert list((cache / "data").iterdir()) == []


def test_a_user_without_home_is_told_the_variable(
    make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NGPTLAB_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert "set NGPTLAB_CACHE" in failure(make_folder(["a", "b"]))
