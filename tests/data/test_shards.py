"""Shards: what was written is read, across files, and damage is named."""

from __future__ import annotations

import hashlib
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngptlab.data.shards import stream as stream_module
from ngptlab.data.shards.format import FORMATS, Shard, header
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.errors import DataError

EOT = 256
DOCUMENTS = st.lists(st.lists(st.integers(0, 255), max_size=12), max_size=12)


def write(folder: Path, documents: list[list[int]], shard_tokens: int = 100_000_000) -> list[Shard]:
    with ShardWriter(folder, "train", shard_tokens=shard_tokens) as writer:
        for document in documents:
            writer.write(np.array([EOT, *document], dtype=np.uint16))
    return writer.shards


def opened(folder: Path) -> TokenStream:
    return TokenStream(sorted(folder.glob("*.bin")))


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    write(tmp_path, [[1, 2, 3], [4]])
    return tmp_path / "train_000000.bin"


def test_the_format_byte_by_byte(shard: Path) -> None:
    raw = shard.read_bytes()
    assert raw[:12] == b"\x88\xd8\x34\x01" + b"\x01\0\0\0" + b"\x06\0\0\0"  # 20240520, 1, 6 tokens
    assert raw[12:1024] == bytes(1012)
    assert raw[1024:] == b"\0\x01\x01\0\x02\0\x03\0\0\x01\x04\0"


def test_records(tmp_path: Path) -> None:
    records = write(tmp_path, [[7, 8], [9]], shard_tokens=3)
    assert [(r.file, r.tokens, r.bytes, r.max_token) for r in records] == [
        ("train_000000.bin", 3, 1030, 256),
        ("train_000001.bin", 2, 1028, 256),
    ]
    for record in records:
        assert record.sha256 == hashlib.sha256((tmp_path / record.file).read_bytes()).hexdigest()


def test_the_largest_token_is_of_its_own_shard(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "val", shard_tokens=2) as writer:
        writer.write(np.array([9, 50_000, 3, 1, 65_535]))
    assert [record.max_token for record in writer.shards] == [50_000, 3, 65_535]


def test_no_token_no_file(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "long") as writer:
        writer.write(np.zeros(0, dtype=np.uint16))
    assert writer.shards == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("token", [-1, 65_536])
def test_a_token_that_does_not_fit_is_refused(tmp_path: Path, token: int) -> None:
    with pytest.raises(DataError, match=r"0\.\.65535"), ShardWriter(tmp_path, "train") as writer:
        writer.write(np.array([1, token]))


def test_a_broken_off_write_is_no_shard(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ShardWriter(tmp_path, "train") as writer:
        writer.write(np.array([1, 2, 3]))
        raise RuntimeError
    with pytest.raises(DataError, match="longer than its header says"):
        opened(tmp_path)


@settings(deadline=None)
@given(documents=DOCUMENTS, shard_tokens=st.integers(1, 20), data=st.data())
def test_round_trip_and_windows_across_edges(
    documents: list[list[int]], shard_tokens: int, data: st.DataObject
) -> None:
    flat = [token for document in documents for token in (EOT, *document)]
    with tempfile.TemporaryDirectory() as folder:
        records = write(Path(folder), documents, shard_tokens)
        stream = opened(Path(folder))
        assert len(stream) == sum(record.tokens for record in records) == len(flat)
        assert stream.window(0, len(flat)).tolist() == flat
        start = data.draw(st.integers(0, len(flat)))
        length = data.draw(st.integers(0, len(flat) - start))
        window = stream.window(start, length)
        assert window.dtype == np.int64
        assert window.tolist() == flat[start : start + length]


@settings(deadline=None)
@given(
    documents=DOCUMENTS, shard_tokens=st.integers(1, 20), min_tokens=st.integers(0, 8), scan=st.integers(1, 9)
)
def test_documents_come_back_whole(
    documents: list[list[int]], shard_tokens: int, min_tokens: int, scan: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_module, "SCAN_TOKENS", scan)
        write(Path(folder), documents, shard_tokens)
        found = [document.tolist() for document in opened(Path(folder)).documents(min_tokens, EOT)]
    assert found == [document for document in documents if len(document) >= min_tokens]


def test_tokens_before_the_first_end_of_text_are_left_out(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train") as writer:
        writer.write(np.array([1, 2, EOT, 3, 4]))
    assert [document.tolist() for document in opened(tmp_path).documents(0, EOT)] == [[3, 4]]
    assert list(opened(tmp_path).documents(0, 999)) == []


def test_documents_need_no_more_memory_than_the_largest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "SCAN_TOKENS", 1 << 12)
    write(tmp_path, [[1] * 2000] * 500)
    stream = opened(tmp_path)
    tracemalloc.start()
    try:
        assert sum(1 for _ in stream.documents(2000, EOT)) == 500
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000  # the whole is 8 MB


def test_empty_streams(tmp_path: Path) -> None:
    assert len(TokenStream([])) == 0
    assert list(TokenStream([]).documents(0, EOT)) == []
    (tmp_path / "a.bin").write_bytes(header(FORMATS[0], 0))  # others' tools may write such
    write(tmp_path, [[5]])
    stream = TokenStream([tmp_path / "a.bin", tmp_path / "train_000000.bin", tmp_path / "a.bin"])
    assert stream.window(0, 2).tolist() == [EOT, 5]


@pytest.mark.parametrize(("start", "length"), [(0, 7), (6, 1), (-1, 2), (3, -1)])
def test_a_window_outside_is_an_error(shard: Path, start: int, length: int) -> None:
    with pytest.raises(IndexError):
        TokenStream([shard]).window(start, length)


def test_windows_are_copies(shard: Path) -> None:
    stream = TokenStream([shard])
    stream.window(0, 3)[:] = 0
    assert stream.window(0, 3).tolist() == [EOT, 1, 2]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: raw[:-1], "truncated, 1035 bytes where 6 tokens take 1036"),
        (lambda raw: raw[:500], "truncated, 500 bytes are less than a shard's header"),
        (lambda raw: b"", "truncated, 0 bytes"),
        (lambda raw: raw + b"\0\0", "longer than its header says, 1038 bytes"),
        (lambda raw: b"\x01" + raw[1:], "not a shard, wrong magic number"),
        (lambda raw: raw[:4] + b"\x02" + raw[5:], "shard of version 2"),
        (lambda raw: raw[:8] + b"\xff\xff\xff\xff" + raw[12:], "longer than its header says"),
    ],
)
def test_damage_is_named(shard: Path, damage: object, said: str) -> None:
    assert callable(damage)
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(DataError) as caught:
        TokenStream([shard])
    assert str(shard) in str(caught.value) and said in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.bin: the shard can't be read"):
        TokenStream([tmp_path / "gone.bin"])


def test_reading_lets_go_of_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mapped after reading everything once is bounded, and what is read is the same."""
    monkeypatch.setattr(stream_module, "MAPPED_BYTES", 1 << 20)
    tokens = np.random.default_rng(0).integers(0, 1000, 8_000_000)
    with ShardWriter(tmp_path, "train", shard_tokens=3_000_000) as written:
        written.write(tokens)
    stream = opened(tmp_path)
    before = mapped_bytes()
    windows = [stream.window(low, 4000) for low in range(0, len(tokens), 4000)]
    assert (np.concatenate(windows) == tokens).all()
    assert mapped_bytes() - before < 4_000_000  # all of it is 16 MB


def mapped_bytes() -> int:
    """Pages of files in this process's memory."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        pytest.skip("needs /proc")
    lines = [line for line in text.splitlines() if line.startswith(("RssFile", "RssShmem"))]
    assert len(lines) == 2  # of files on a disk, and in a file system that is in memory
    return sum(int(line.split()[1]) for line in lines) * 1024
