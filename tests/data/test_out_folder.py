"""`data prepare`: the same bytes for any number of workers and after any kill, and a folder that is never spoilt."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import Killed
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers

from ngptlab.cli import main
from ngptlab.config import DataConfig
from ngptlab.data.prepare import text_to_shards as prepare_module
from ngptlab.data.prepare.encode import WAITING, Batch, encoded
from ngptlab.data.prepare.journal import JOURNAL
from ngptlab.data.prepare.out_folder import prepare_out_folder
from ngptlab.data.prepare.progress import describe_preparation
from ngptlab.data.prepare.split_writers import SplitWriters
from ngptlab.data.shards.manifest import SPLITS
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.shards.verify import verify
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.data.tokens.tokenizer import ByteTokenizer, Tokens
from ngptlab.errors import DataError

MakeFolder = Callable[[Iterable[str] | int], Path]


def config(texts: Path) -> DataConfig:
    return DataConfig(source=f"text:{texts}", val_share=0.2, long_share=0.3)


def made(texts: Path, folder: Path, workers: int = 1) -> dict[str, bytes]:
    prepare_out_folder(config(texts), folder, long_min_tokens=60, workers=workers)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def texts(make_folder: MakeFolder) -> Path:
    """Two hundred documents and some copies, so that a resume must know what it has seen."""
    return make_folder([f"text {number % 170} " + "é" * (number % 170) for number in range(200)])


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal entry every few documents, batches of some, and shards of few tokens."""
    monkeypatch.setattr(prepare_module, "SAVE_BYTES", 1500)
    monkeypatch.setattr(prepare_module, "BATCH_BYTES", 250)
    monkeypatch.setitem(ShardWriter.__init__.__kwdefaults__, "shard_tokens", 3000)  # type: ignore[arg-type]


def test_any_number_of_workers_writes_the_same(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_module, "BATCH_BYTES", 300)  # more batches than may wait at once
    one = made(texts, tmp_path / "one")
    assert made(texts, tmp_path / "two", workers=2) == one
    assert sorted(one) == ["long_000000.bin", "manifest.json", "train_000000.bin", "val_000000.bin"]
    assert sum(verify(tmp_path / "one").compared.values()) == 170


def kill_after(monkeypatch: pytest.MonkeyPatch, calls: int, owner: object, name: str) -> None:
    """The process ends at that call: buffers are lost, no file is closed with its count."""
    real, left = getattr(owner, name), [calls]

    def counted(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize("calls", [0, 1, 5, 8, 30, 77, 128, 218])
@pytest.mark.parametrize("target", [(ShardWriter, "write"), (ShardWriter, "_finish"), (os, "fsync")])
@pytest.mark.usefixtures("small_steps")
def test_a_killed_preparation_goes_on(
    texts: Path, tmp_path: Path, calls: int, target: tuple[object, str]
) -> None:
    straight = made(texts, tmp_path / "straight")
    assert "train_000002.bin" in straight  # states lie within, at the end of, and between shards
    folder = tmp_path / "killed"
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, calls, *target)
        try:
            made(texts, folder)
        except Killed:
            assert not (folder / "manifest.json").exists() or (folder / JOURNAL).exists()
    assert made(texts, folder) == straight


@settings(max_examples=15)
@given(stops=st.lists(st.integers(0, 400), max_size=4), junk=st.binary(max_size=50))
def test_killed_again_and_again(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int], junk: bytes
) -> None:
    """Also where the files' ends, after the last entry of the journal, are garbage."""
    base = tmp_path_factory.mktemp("kills")
    texts = base / "texts"
    texts.mkdir()
    for number in range(60):
        (texts / f"{number:02d}.txt").write_text(f"{number} " + "a" * number)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(prepare_module, "SAVE_BYTES", 300)
        small.setattr(prepare_module, "BATCH_BYTES", 100)
        straight = made(texts, base / "straight")
        for calls in stops:
            with pytest.MonkeyPatch.context() as patch:
                kill_after(patch, calls, ShardWriter, "write")
                try:
                    made(texts, base / "killed")
                except Killed:
                    for path in (base / "killed").glob("*.bin"):
                        path.write_bytes(path.read_bytes() + junk)
        assert made(texts, base / "killed") == straight


@pytest.mark.usefixtures("small_steps")
def test_a_resume_does_not_tokenize_again(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 110, ShardWriter, "write")
        with pytest.raises(Killed):
            made(texts, tmp_path / "out")
    done = json.loads((tmp_path / "out" / JOURNAL).read_text())["documents"]
    assert 100 < done < 170
    calls = []
    real = type(tokenizer("bytes")).encode
    monkeypatch.setattr(
        type(tokenizer("bytes")), "encode", lambda self, text: calls.append(text) or real(self, text)
    )
    made(texts, tmp_path / "out")
    assert len(calls) == 170 - done


@pytest.mark.usefixtures("small_steps")
def test_other_text_or_settings_do_not_go_on(texts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        kill_after(patch, 100, ShardWriter, "write")
        with pytest.raises(Killed):
            made(texts, folder)
    with pytest.raises(DataError, match="begun from other text or with other settings"):
        prepare_out_folder(config(texts), folder, long_min_tokens=61, workers=1)
    (texts / "new.txt").write_text("new")
    with pytest.raises(DataError, match="begun from other text or with other settings"):
        made(texts, folder)
    (folder / JOURNAL).write_text("{")
    with pytest.raises(DataError, match=r"progress\.json: damaged"):
        made(texts, folder)


def test_folders_of_others_are_left_alone(texts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds thesis\.txt; give --out a new or empty folder"):
        made(texts, folder)
    (folder / "thesis.txt").unlink()
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(DataError, match="another process is at work there"):
        made(texts, folder)
    os.close(held)
    first = made(texts, folder)
    assert made(texts, folder) == first  # done already
    with pytest.raises(DataError, match="holds text:texts in tokens of bytes; give another --out"):
        prepare_out_folder(DataConfig(source="stdlib"), folder, long_min_tokens=60, workers=1)


def test_a_text_that_stops_a_worker_is_one_line(texts: Path, tmp_path: Path) -> None:
    """`</s>` is a word here, and the end of a text."""
    library = Library(models.WordLevel({"</s>": 0, "[UNK]": 1}, unk_token="[UNK]"))
    library.normalizer = normalizers.Lowercase()
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.save(str(tmp_path / "words.json"))
    (texts / "0100.txt").write_text("a </S>")
    data = DataConfig(source=f"text:{texts}", tokenizer=str(tmp_path / "words.json"))
    with pytest.raises(
        DataError, match=r"text:texts, 0100.txt: its 6 characters can't be encoded \(tokenizers:.*'</s>'"
    ) as caught:
        prepare_out_folder(data, tmp_path / "out", long_min_tokens=60, workers=3)
    assert "\n" not in str(caught.value)
    assert pool_threads() == []


def pool_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "ThreadPool" in thread.name]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_beside_the_workers_ends_them(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """At once, with what waited left undone, although the traceback is still held; then the same command goes on."""
    straight = made(texts, tmp_path / "straight")
    taken: list[int] = []
    real = ByteTokenizer.encode_documents

    def counted(self: ByteTokenizer, documents: Sequence[str]) -> Tokens:
        taken.append(len(documents))
        time.sleep(0.005)
        return real(self, documents)

    def failing(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "BATCH_BYTES", 300)
        patch.setattr(ByteTokenizer, "encode_documents", counted)
        patch.setattr(SplitWriters, "flush", failing)
        with pytest.raises(type(error)) as caught:
            made(texts, tmp_path / "out", workers=2)
    assert caught.value is error and pool_threads() == [] and sum(taken) < 170
    assert made(texts, tmp_path / "out", workers=2) == straight


def test_few_batches_are_in_flight() -> None:
    """However far ahead of the writing the workers could be."""
    read = 0

    def batches() -> Iterator[Batch]:
        nonlocal read
        for number in range(1000):
            read += 1
            yield Batch([b"text %d" % number], [bytes(32)], (0, number), [f"{number}"], [])

    with contextlib.closing(encoded(batches(), ByteTokenizer(), 2)) as found:
        for written, (batch, (ids,)) in enumerate(found, start=1):
            assert batch.position == (0, written - 1) and bytes(ids[1:].tolist()) == batch.texts[0]
            assert read - written <= 2 * WAITING
    assert written == read == 1000


def test_every_worker_has_its_own_copy(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare_module, "BATCH_BYTES", 300)
    used: dict[int, set[int]] = {}  # tokenizers, by thread
    real = ByteTokenizer.encode_documents

    def watched(self: ByteTokenizer, documents: Sequence[str]) -> Tokens:
        used.setdefault(threading.get_ident(), set()).add(id(self))
        if len(used) < 3:
            time.sleep(0.01)  # so that every one gets some
        return real(self, documents)

    kept = []  # so that no two have the same id
    monkeypatch.setattr(ByteTokenizer, "copy", lambda self: kept.append(ByteTokenizer()) or kept[-1])
    monkeypatch.setattr(ByteTokenizer, "encode_documents", watched)
    made(texts, tmp_path / "three", workers=3)
    assert len(used) == len(kept) == 3
    assert all(len(tokenizers) == 1 for tokenizers in used.values())
    assert set.union(*used.values()) == {id(tokens) for tokens in kept}


def test_the_command(texts: Path, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "out"
    arguments = ["data", "prepare", str(texts), "--tokenizer", "bytes", "--out", str(out)]
    assert main([*arguments, "--val-share", "0.2", "--long-min-tokens", "60"]) == 0
    said = capsys.readouterr()
    assert f"--data.source shards:{out} --data.tokenizer bytes" in said.out
    assert said.err == "100%, 0.0 MB\n"
    assert main(["data", "verify", str(out)]) == 0
    streams = {name: TokenStream(sorted(out.glob(f"{name}_*.bin"))) for name in SPLITS}
    found = [
        bytes(document.astype(np.uint8))
        for stream in streams.values()
        for document in stream.documents(0, 256)
    ]
    assert sorted(found) == sorted({path.read_bytes() for path in texts.iterdir()})
    capsys.readouterr()
    for wrong in (["--workers", "0"], ["--val-share", "0.7"], ["--tokenizer", "gpt3"]):
        assert main([*arguments, *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert (
        main(["data", "prepare", str(tmp_path / "nowhere"), "--out", str(out), "--tokenizer", "bytes"]) == 2
    )


def test_progress_in_words() -> None:
    said = describe_preparation(0.55, 110_000_000, 25_000_000, 20.0, (10.0, 0.4, 80_000_000, 20_000_000))
    assert said == "55%, 110.0 MB, 3.0 MB/s, 500,000 tokens/s, 0:00:30 left"


def test_a_writer_goes_on_from_a_state(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "val", shard_tokens=4) as first:
        first.write(np.array([1, 2, 3, 4, 9, 1]))
        state = first.state()
        first.write(np.array([70, 71, 72]))
    with ShardWriter(tmp_path, "val", shard_tokens=4, state=state) as second:
        second.write(np.array([5]))
    assert [(shard.tokens, shard.max_token) for shard in second.shards] == [(4, 4), (3, 9)]
    stream = TokenStream([tmp_path / shard.file for shard in second.shards])
    assert stream.window(0, 7).tolist() == [1, 2, 3, 4, 9, 1, 5]
