"""Which document goes where, and what the manifest says of it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import zstandard

import ngptlab.errors
from ngptlab.config import DataConfig
from ngptlab.data.corpus import Corpus, open_corpus
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.text.sources import documents
from ngptlab.data.tokens.choose import tokenizer
from no_network import gpt2_or_skip

MakeFolder = Callable[[Iterable[str] | int], Path]
Prepared = Callable[..., Corpus]
LONG = 40


def text(number: int) -> str:
    """A text that no other number has: just too short for a long one, just long enough, or longer."""
    return f"document {number} ".ljust((LONG - 1, LONG, 3 * LONG)[number % 3], ".")


def u(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def texts_of(stream: TokenStream) -> list[str]:
    return [tokenizer("bytes").decode(ids) for ids in stream.documents(0, 256)]


def test_splits_follow_the_rule_and_keep_the_order(
    cache: Path, make_folder: MakeFolder, prepared: Prepared
) -> None:
    texts = [text(n) for n in range(300)]
    corpus = prepared(make_folder(texts), val_share=0.1, long_share=0.3)
    val = [t for t in texts if u(t) < 0.1]
    long = [t for t in texts if 0.1 <= u(t) < 0.4 and len(t.encode()) >= LONG]
    assert texts_of(corpus.val) == val
    assert texts_of(corpus.long) == long
    assert texts_of(corpus.train) == [t for t in texts if t not in val and t not in long]
    assert 10 < len(val) < 100 and 10 < len(long) < 100  # the rule was exercised


def test_the_manifest_counts(cache: Path, make_folder: MakeFolder, prepared: Prepared) -> None:
    texts = [text(n) + "é" for n in range(60)]
    corpus = prepared(make_folder(texts), val_share=0.2, long_share=0.4)
    manifest = corpus.manifest
    assert (manifest.tokenizer, manifest.vocab_size, manifest.end_of_text) == ("bytes", 257, 256)
    assert corpus.end_of_text == 256
    for name, stream in (("train", corpus.train), ("val", corpus.val), ("long", corpus.long)):
        split, found = manifest.splits[name], texts_of(stream)
        assert split.documents == len(found)
        assert split.text_bytes == sum(len(t.encode()) for t in found)
        assert split.tokens == len(stream) == split.text_bytes + split.documents
        assert split.max_token == 256


def test_copies_and_blank_documents_are_dropped(
    cache: Path, make_folder: MakeFolder, prepared: Prepared
) -> None:
    texts = [text(n) for n in range(40)]
    corpus = prepared(make_folder([*texts, "", " \n", *reversed(texts)]))
    found = [t for stream in (corpus.train, corpus.val, corpus.long) for t in texts_of(stream)]
    assert sorted(found) == sorted(texts)


def test_adding_documents_moves_none(cache: Path, make_folder: MakeFolder, prepared: Prepared) -> None:
    folder = make_folder(200)
    before = prepared(folder, val_share=0.2, long_share=0.2)
    for number in range(200, 250):
        (folder / f"{number:04d}.txt").write_text(text(number))
    after = prepared(folder, val_share=0.2, long_share=0.2)
    assert after.digest != before.digest
    for name in ("train", "val", "long"):
        assert set(texts_of(getattr(before, name))) <= set(texts_of(getattr(after, name)))


def test_an_empty_long_split_is_an_empty_stream(
    cache: Path, make_folder: MakeFolder, prepared: Prepared
) -> None:
    corpus = prepared(make_folder(60), long_min_tokens=10_000)
    assert len(corpus.long) == 0 and corpus.manifest.splits["long"].shards == ()


@pytest.mark.parametrize("low, high", [(0.5, 1.0), (0.0, 0.04), (0.06, 0.5)])
@pytest.mark.parametrize("count", [2, 3])
def test_two_documents_are_enough_wherever_their_hashes_fall(
    cache: Path, make_folder: MakeFolder, count: int, low: float, high: float, prepared: Prepared
) -> None:
    """By the shares alone all would be train, all val, or all long."""
    candidates = (f"{text(0)} {n}" for n in range(10_000))
    texts = [t for t in candidates if low <= u(t) < high][:count]
    corpus = prepared(make_folder(texts), val_share=0.05, long_share=0.45)
    assert min(texts, key=u) in texts_of(corpus.val)
    assert max(texts, key=u) in texts_of(corpus.train)
    found = [t for stream in (corpus.train, corpus.val, corpus.long) for t in texts_of(stream)]
    assert sorted(found) == sorted(texts)
    listed = {shard.file for split in corpus.manifest.splits.values() for shard in split.shards}
    assert {path.name for path in corpus.folder.glob("*.bin")} == listed  # nothing is left of a first pass


def test_stdlib_splits_share_no_document(cache: Path) -> None:
    corpus = open_corpus(DataConfig(), vocab_size=257, long_min_tokens=1025)
    sets = [set(texts_of(stream)) for stream in (corpus.train, corpus.val, corpus.long)]
    counts = [corpus.manifest.splits[name].documents for name in ("train", "val", "long")]
    assert [len(found) for found in sets] == counts  # no text twice within a split
    assert len(set.union(*sets)) == sum(counts)  # nor in two
    assert set.union(*sets) == {d.text for d in documents("stdlib") if d.text.strip()}
    assert all(len(t.encode()) >= 1025 for t in sets[2])
    assert len(corpus.train) > 5_000_000 and len(corpus.val) > 100_000 and len(corpus.long) > 100_000


def test_gpt2_tokens(cache: Path, make_folder: MakeFolder, prepared: Prepared) -> None:
    vocabulary = gpt2_or_skip()
    texts = [text(n) for n in range(60)]
    folder = make_folder(texts)
    corpus = prepared(folder, tokenizer="gpt2", vocab_size=50304, long_min_tokens=10)
    streams = (corpus.train, corpus.val, corpus.long)
    found = [vocabulary.decode(ids) for stream in streams for ids in stream.documents(0, corpus.end_of_text)]
    assert sorted(found) == sorted(texts)
    train = corpus.manifest.splits["train"]
    assert train.text_bytes > 1.5 * train.tokens


PEAKS = """
import sys, tracemalloc
from ngptlab.config import DataConfig
from ngptlab.data.prepare import text_to_shards
from ngptlab.data.corpus import open_corpus

text_to_shards.BATCH_BYTES = 1 << 16
for path in sys.argv[1:]:
    tracemalloc.start()
    open_corpus(DataConfig(source=f"text:{path}"), vocab_size=257, long_min_tokens=40)
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""
"""Peak memory of preparing each file, in bytes. In a process of its own, because a thread of another test would count, too."""


def test_preparing_streams(cache: Path, tmp_path: Path) -> None:
    """Four times the corpus, the same memory but for a hash per document. The first file only brings the imports."""
    files = [tmp_path / f"{count}.jsonl.zst" for count in (50, 200, 800)]
    for file, count in zip(files, (50, 200, 800), strict=True):
        lines = (json.dumps({"text": random.Random(n).randbytes(5000).hex()}) + "\n" for n in range(count))
        file.write_bytes(zstandard.compress("".join(lines).encode()))
    env = os.environ | {"PYTHONPATH": str(Path(ngptlab.errors.__file__).parents[1])}
    command = [sys.executable, "-c", PEAKS, *map(str, files)]
    printed = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    _, *peaks = map(int, printed.split())
    assert peaks[1] < peaks[0] + 600 * 300  # 600 more hashes; 6 MB more text
    assert peaks[1] < 2_000_000


def test_data_imports_no_torch() -> None:
    script = "import sys, ngptlab.data.corpus, ngptlab.data.batches; sys.exit('torch' in sys.modules)"
    package = Path(ngptlab.errors.__file__).parents[1]
    subprocess.run([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(package)}, check=True)
