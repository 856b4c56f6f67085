"""`data verify` and `data stats`: every kind of damage has its own line, and what is counted is what is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ngptlab.cli import main
from ngptlab.data.corpus import Corpus
from ngptlab.data.shards.stats import histogram, stats
from ngptlab.data.shards.verify import verify

MakeFolder = Callable[[Iterable[str] | int], Path]
Captured = pytest.CaptureFixture[str]
EOT = 256


@pytest.fixture
def corpus(cache: Path, make_folder: MakeFolder, prepared: Callable[..., Corpus]) -> Path:
    """A prepared corpus with all three splits."""
    texts = [f"text {number} ".ljust(20 + number % 40, ".") for number in range(200)]
    prepared(make_folder(texts), val_share=0.2, long_share=0.4)
    (folder,) = (cache / "data").iterdir()
    return folder


@pytest.fixture
def damage(capsys: Captured) -> Callable[[Path], str]:
    """Verify a folder that isn't well; the one line that is said."""

    def said(folder: Path) -> str:
        assert main(["data", "verify", str(folder)]) == 2
        captured = capsys.readouterr()
        assert not captured.out and captured.err.count("\n") == 1
        return captured.err

    return said


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    fields = json.loads(path.read_text())
    fields.pop("sha256", None)  # as in a manifest of before
    change(fields)
    path.write_text(json.dumps(fields))


def rewrite(folder: Path, split: str, tokens: list[int]) -> None:
    """Other tokens in a split's only shard, with a manifest that agrees."""
    path = folder / f"{split}_000000.bin"
    header = np.frombuffer(path.read_bytes()[:1024], dtype="<i4").copy()
    header[2] = len(tokens)
    path.write_bytes(header.tobytes() + np.array(tokens, dtype="<u2").tobytes())

    def agree(fields: dict[str, Any]) -> None:
        record, shard = fields["splits"][split], fields["splits"][split]["shards"][0]
        record["tokens"] = shard["tokens"] = len(tokens)
        record["max_token"] = shard["max_token"] = max(tokens)
        record["documents"] = tokens.count(EOT)
        record["text_bytes"] = len(tokens) - tokens.count(EOT)
        shard["bytes"] = path.stat().st_size
        shard["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()

    change_manifest(folder, agree)


def test_all_is_well(corpus: Path, capsys: Captured) -> None:
    assert main(["data", "verify", str(corpus)]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("digests", "headers", "lengths", "below 257", "two splits", "well"))
    checked = verify(corpus)
    assert checked.compared == {name: split.documents for name, split in checked.manifest.splits.items()}
    assert all(checked.compared.values())


@pytest.mark.parametrize(
    ("position", "replaced", "named"),
    [
        (0, b"\0\0\0\0", "not a shard, wrong magic number 0"),
        (4, b"\2\0\0\0", "shard of version 2"),
        (8, b"\1\0\0\0", "longer than its header says"),
        (10, b"\1\0", "truncated"),
        (1030, b"\7", "its SHA-256 is not the manifest's"),
        (600, b"\7", "its SHA-256 is not the manifest's"),  # the header's padding
        (1030, b"\1\1", "holds token 257, the bytes tokenizer has 257"),
    ],
)
@pytest.mark.parametrize("split", ["train", "val", "long"])
def test_changed_bytes(
    corpus: Path, damage: Callable[[Path], str], split: str, position: int, replaced: bytes, named: str
) -> None:
    path = corpus / f"{split}_000000.bin"
    raw = bytearray(path.read_bytes())
    raw[position : position + len(replaced)] = replaced
    path.write_bytes(raw)
    said = damage(corpus)
    assert named in said and str(path) in said


def test_lengths_and_missing_files(corpus: Path, damage: Callable[[Path], str]) -> None:
    path = corpus / "train_000000.bin"
    raw = path.read_bytes()
    path.write_bytes(raw[:-2])
    assert f"{path}: truncated" in damage(corpus)
    path.write_bytes(raw + b"\0\0")
    assert f"{path}: longer than its header says" in damage(corpus)
    # One token less, and a header that agrees: only the manifest knows.
    count = int.from_bytes(raw[8:12], "little")
    path.write_bytes(raw[:8] + (count - 1).to_bytes(4, "little") + raw[12:-2])
    assert f"{path}: is truncated" in damage(corpus) or "tokens where the manifest says" in damage(corpus)
    path.unlink()
    assert f"{path}: the shard can't be read" in damage(corpus)
    (corpus / "manifest.json").unlink()
    assert "manifest.json: can't be read" in damage(corpus)


def test_swapped_shards(corpus: Path, damage: Callable[[Path], str]) -> None:
    train, val = corpus / "train_000000.bin", corpus / "val_000000.bin"
    raw = train.read_bytes()
    train.write_bytes(val.read_bytes())
    val.write_bytes(raw)
    assert "where the manifest says" in damage(corpus)


def test_a_wrong_manifest(corpus: Path, damage: Callable[[Path], str]) -> None:
    good = (corpus / "manifest.json").read_text()

    def val(fields: dict[str, Any]) -> Any:
        return fields["splits"]["val"]

    change_manifest(corpus, lambda fields: val(fields).update(tokens=5))
    assert "says 5 tokens for val" in damage(corpus)
    (corpus / "manifest.json").write_text(good)
    change_manifest(corpus, lambda fields: val(fields)["shards"][0].update(max_token=3))
    assert "says 256 is the largest token of val, by its shards it is 3" in damage(corpus)
    change_manifest(corpus, lambda fields: val(fields).update(max_token=3))
    assert "says 3 is the largest token of val_000000.bin, it is 256" in damage(corpus)
    (corpus / "manifest.json").write_text(good)
    change_manifest(corpus, lambda fields: val(fields).update(fields["splits"]["train"]))
    assert "lists train_000000.bin twice" in damage(corpus)


@pytest.mark.parametrize(("split", "other"), [("val", "train"), ("long", "train"), ("val", "long")])
def test_overlap(corpus: Path, damage: Callable[[Path], str], split: str, other: str) -> None:
    """A document at the end of one split that is in the middle of another, digests and all agreeing."""
    rewrite(corpus, split, [EOT, 1, 2, 3, EOT, 4, 5])
    rewrite(corpus, other, [EOT, 9, EOT, 4, EOT, 4, 5, EOT, 7])
    assert f"splits overlap, document 2 of {other} is also in {split}" in damage(corpus)
    rewrite(corpus, other, [EOT, 9, EOT, 4, EOT, EOT, 5, 4, EOT, 7])
    assert main(["data", "verify", str(corpus)]) == 0


def test_stats_count_what_is_there(corpus: Path) -> None:
    rewrite(corpus, "val", [3, EOT, 1, EOT, EOT, *[2] * 9])
    found = {split.name: split for split in stats(corpus)[1]}
    assert set(found) == {"train", "val", "long"}
    assert found["val"].lengths.tolist() == [1, 0, 9]
    assert found["val"].tokens == 14
    train = found["train"]
    assert train.documents == len(train.lengths) and train.tokens == train.lengths.sum() + train.documents
    assert train.bytes_per_token == train.lengths.sum() / train.tokens  # one byte a token, none for the ends


def test_histogram() -> None:
    assert histogram(np.array([0, 1, 2, 3, 3, 16])) == [
        (0, 1, 1),
        (1, 2, 1),
        (2, 4, 3),
        (4, 8, 0),
        (8, 16, 0),
        (16, 32, 1),
    ]
    assert histogram(np.array([7, 4])) == [(4, 8, 2)]
    assert histogram(np.array([], dtype=np.int64)) == []


def test_stats_are_shown_and_drawn(corpus: Path, tmp_path: Path, capsys: Captured) -> None:
    picture = tmp_path / "new" / "lengths.png"
    assert main(["data", "stats", str(corpus), "--out", str(picture)]) == 0
    said = capsys.readouterr().out
    assert "text:texts, tokens of bytes" in said and "█" in said and "32 - 63" in said
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["data", "stats", str(corpus), "--out", "picture.txt"]) == 2
    assert "--out picture.txt: a picture's name ends in .png" in capsys.readouterr().err


def test_data_help(capsys: Captured) -> None:
    for arguments in (["data", "--help"], ["data", "verify", "--help"], ["data", "stats", "--help"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
        assert ("DIR" if len(arguments) == 3 else "verify") in capsys.readouterr().out
    assert main(["data"]) == 2 and main(["data", "verfy"]) == 2
