"""`data prepare` for any documents, files, shard sizes, batches, workers and kills, against the rule written out plainly."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from stand_ins import Killed

from ngptlab.config import DataConfig
from ngptlab.data.prepare import text_to_shards as prepare_module
from ngptlab.data.prepare.out_folder import prepare_out_folder
from ngptlab.data.shards.manifest import SPLITS
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.shards.verify import verify
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.errors import DataError

VAL, LONG, LONG_MIN = 0.2, 0.3, 12
TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=25)
FILES = st.lists(st.tuples(st.sampled_from([".txt", ".jsonl", ".jsonl.zst"]), TEXTS), min_size=1, max_size=4)


def write(folder: Path, files: list[tuple[str, list[str]]]) -> list[str]:
    """The files; gives their documents in order."""
    folder.mkdir()
    documents = []
    for number, (suffix, texts) in enumerate(files):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
        raw = {".txt": "".join(texts).encode(), ".jsonl": lines, ".jsonl.zst": zstandard.compress(lines)}
        (folder / f"{number}{suffix}").write_bytes(raw[suffix])
        documents += ["".join(texts)] if suffix == ".txt" else texts
    return documents


def by_split(documents: list[str]) -> dict[str, list[bytes]] | None:
    """What should be in each split, in order; None where no corpus can be made."""
    distinct = list(dict.fromkeys(text.encode() for text in documents if text.strip()))
    digest = {text: hashlib.sha256(text).digest() for text in distinct}
    if len(distinct) < 2:
        return cut(distinct[0].decode()) if distinct else None
    ordered = sorted(distinct, key=lambda text: digest[text])
    splits: dict[str, list[bytes]] = {name: [] for name in SPLITS}
    for text in distinct:
        u = int.from_bytes(digest[text][:8], "big") / 2**64
        split = "val" if u < VAL else "long" if u < VAL + LONG and len(text) >= LONG_MIN else "train"
        split = "val" if text == ordered[0] else "train" if text == ordered[-1] else split
        splits[split].append(text)
    return splits


def cut(text: str) -> dict[str, list[bytes]] | None:
    """A text of its own, cut by position: after a line or else a blank where one ends shortly before the share, else there."""
    until, since = round(0.8 * len(text)), max(1, round(0.7 * len(text)))
    ends = [n + 1 for n in range(since, until) if text[n] == "\n"]
    ends = ends or [n + 1 for n in range(since, until) if text[n] == " "]
    at = ends[-1] if ends else until
    first, last = text[:at], text[at:]
    if not first.strip() or not last.strip() or first.strip() == last.strip():
        return None
    return {"train": [first.encode()], "val": [last.encode()], "long": []}


def made(texts: Path, out: Path, workers: int) -> dict[str, bytes]:
    data = DataConfig(source=f"text:{texts}", val_share=VAL, long_share=LONG)
    prepare_out_folder(data, out, long_min_tokens=LONG_MIN, workers=workers)
    return {path.name: path.read_bytes() for path in out.iterdir()}


@contextlib.contextmanager
def small(shard_tokens: int, batch_bytes: int, save_bytes: int) -> Iterator[None]:
    """Everything in small pieces. Nothing here loses power, and disks are slow, so nothing is forced onto them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ShardWriter.__init__.__kwdefaults__, "shard_tokens", shard_tokens)  # type: ignore[arg-type]
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(prepare_module, "BATCH_BYTES", batch_bytes)
        patch.setattr(prepare_module, "SAVE_BYTES", save_bytes)
        yield


@settings(max_examples=40)
@given(
    files=FILES,
    shard_tokens=st.integers(1, 80),
    batch_bytes=st.integers(1, 200),
    workers=st.integers(1, 4),
)
def test_the_rule_holds(
    files: list[tuple[str, list[str]]], shard_tokens: int, batch_bytes: int, workers: int
) -> None:
    with tempfile.TemporaryDirectory() as name, small(shard_tokens, batch_bytes, save_bytes=50):
        base = Path(name)
        expected = by_split(write(base / "texts", files))
        if expected is None:
            with pytest.raises(DataError, match=r"an empty corpus|holds one document"):
                made(base / "texts", base / "out", workers)
            assert list((base / "out").iterdir()) == []
            return
        made(base / "texts", base / "out", workers)
        for split, texts in expected.items():
            stream = TokenStream(sorted((base / "out").glob(f"{split}_*.bin")))
            assert [bytes(ids.tolist()) for ids in stream.documents(0, 256)] == texts
        verify(base / "out")


NUMBERS = st.lists(st.integers(0, 40), min_size=10, max_size=40)
STOPS = st.lists(st.tuples(st.sampled_from(["write", "fsync"]), st.floats(0, 1)), min_size=1, max_size=3)


@settings(max_examples=50)
@given(
    files=st.lists(NUMBERS, min_size=1, max_size=3),
    shard_tokens=st.integers(10, 80),
    batch_bytes=st.integers(1, 40),
    save_bytes=st.integers(1, 60),
    workers=st.integers(1, 3),
    stops=STOPS,
)
def test_kills_leave_no_trace(
    files: list[list[int]],
    shard_tokens: int,
    batch_bytes: int,
    save_bytes: int,
    workers: int,
    stops: list[tuple[str, float]],
) -> None:
    """Texts of few kinds, so that copies and blank ones lie on both sides of a stop, which is where it stops."""
    texts = [[f"{number} " * (number % 7) for number in numbers] for numbers in files]
    with tempfile.TemporaryDirectory() as name, small(shard_tokens, batch_bytes, save_bytes):
        base = Path(name)
        write(base / "texts", [(".jsonl", part) for part in texts])
        assume(by_split([text for part in texts for text in part]) is not None)
        calls = {"write": 0, "fsync": 0}
        straight = counted(calls, {}, base / "texts", base / "straight", 1)
        for target, share in stops:
            # At one of the calls that a run from the beginning makes; after a stop there may be fewer left.
            left = {target: int(share * calls[target])}
            with contextlib.suppress(Killed):
                counted({"write": 0, "fsync": 0}, left, base / "texts", base / "out", workers)
        assert made(base / "texts", base / "out", workers) == straight


def counted(
    calls: dict[str, int], left: dict[str, int], texts: Path, out: Path, workers: int
) -> dict[str, bytes]:
    """Prepare, counting the calls that touch the disk, and kill it at the one after those that are left."""

    def watched(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            calls[name] += 1
            if calls[name] > left.get(name, calls[name]):
                raise Killed
            return real(*arguments)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardWriter, "write", watched("write", ShardWriter.write))
        patch.setattr(os, "fsync", watched("fsync", os.fsync))
        return made(texts, out, workers)
