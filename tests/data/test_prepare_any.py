"""`data prepare` for any documents, files, shard sizes, batches, workers and kills, against the rule written out plainly."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from ngptlab.config import DataConfig
from ngptlab.data import encode
from ngptlab.data import prepare as prepare_module
from ngptlab.data.make import make
from ngptlab.data.manifest import SPLITS
from ngptlab.data.shards import TokenStream
from ngptlab.data.tokenize import tokenizer
from ngptlab.data.verify import verify
from ngptlab.data.writer import ShardWriter
from ngptlab.errors import DataError

VAL, LONG, LONG_MIN = 0.2, 0.3, 12
TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=25)
FILES = st.lists(st.tuples(st.sampled_from([".txt", ".jsonl", ".jsonl.zst"]), TEXTS), min_size=1, max_size=4)


class Killed(BaseException):
    """Stands for a kill: nothing catches it, and nothing is finished after it."""


class Threads(ThreadPoolExecutor):
    """Workers without the cost of processes; test_make.py has real ones."""

    def __init__(self, workers: int, **_: object) -> None:
        encode._tokenizer = tokenizer("bytes")
        super().__init__(workers)


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
        return None
    ordered = sorted(distinct, key=lambda text: digest[text])
    splits: dict[str, list[bytes]] = {name: [] for name in SPLITS}
    for text in distinct:
        u = int.from_bytes(digest[text][:8], "big") / 2**64
        split = "val" if u < VAL else "long" if u < VAL + LONG and len(text) >= LONG_MIN else "train"
        split = "val" if text == ordered[0] else "train" if text == ordered[-1] else split
        splits[split].append(text)
    return splits


def made(texts: Path, out: Path, workers: int) -> dict[str, bytes]:
    data = DataConfig(source=f"text:{texts}", val_share=VAL, long_share=LONG)
    make(data, out, long_min_tokens=LONG_MIN, workers=workers)
    return {path.name: path.read_bytes() for path in out.iterdir()}


def killing(real: Callable[..., object], calls: int) -> Callable[..., object]:
    left = [calls]

    def counted(*args: object, **kwargs: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return real(*args, **kwargs)

    return counted


@settings(max_examples=40)
@given(
    files=FILES,
    shard_tokens=st.integers(1, 80),
    batch_bytes=st.integers(1, 200),
    save_bytes=st.integers(1, 200),
    workers=st.integers(1, 4),
    stops=st.lists(st.tuples(st.sampled_from(["write", "state", "read"]), st.integers(0, 30)), max_size=3),
)
def test_the_rule_holds_and_kills_leave_no_trace(
    files: list[tuple[str, list[str]]],
    shard_tokens: int,
    batch_bytes: int,
    save_bytes: int,
    workers: int,
    stops: list[tuple[str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        base = Path(name)
        expected = by_split(write(base / "texts", files))
        patch.setitem(ShardWriter.__init__.__kwdefaults__, "shard_tokens", shard_tokens)  # type: ignore[arg-type]
        patch.setattr(encode, "ProcessPoolExecutor", Threads)
        patch.setattr("os.fsync", lambda _: None)  # nothing here loses power, and disks are slow
        if expected is None:
            with pytest.raises(DataError, match=r"an empty corpus|holds one document"):
                made(base / "texts", base / "out", workers)
            assert list((base / "out").iterdir()) == []
            return
        straight = made(base / "texts", base / "straight", workers=1)
        for split, texts in expected.items():
            stream = TokenStream(sorted((base / "straight").glob(f"{split}_*.bin")))
            assert [bytes(ids.tolist()) for ids in stream.documents(0, 256)] == texts
        verify(base / "straight")
        patch.setattr(prepare_module, "BATCH_BYTES", batch_bytes)
        patch.setattr(prepare_module, "SAVE_BYTES", save_bytes)
        for target, calls in stops:
            owner, attribute = {
                "write": (ShardWriter, "write"),
                "state": (ShardWriter, "state"),
                "read": (prepare_module, "hashed"),
            }[target]
            with pytest.MonkeyPatch.context() as kill:
                kill.setattr(owner, attribute, killing(getattr(owner, attribute), calls))
                try:
                    made(base / "texts", base / "out", workers)
                except Killed:
                    assert not (base / "out" / "manifest.json").exists()
        assert made(base / "texts", base / "out", workers) == straight
