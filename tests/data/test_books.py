"""Whole books as the long split: text of one's own, and PG19 from a hub on loopback."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_server import Hub, running

from ngptlab.cli import main
from ngptlab.config import DataConfig
from ngptlab.data.corpus import open_corpus
from ngptlab.data.shards.given_folder import open_given_folder
from ngptlab.data.shards.manifest import MANIFEST, read_manifest
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.data.tokens.tokenizer import ByteTokenizer

EOT = 256
BOOKS = [f"Book {number}. " + "It was so. " * (number * 40 + 3) for number in range(5)]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Train and val shards of bytes, as yet without a manifest."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for split in ("train", "val"):
        with ShardWriter(folder, split) as writer:
            writer.write(ByteTokenizer().encode("x" * 400))
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Books as files; one is blank, one a copy."""
    folder = tmp_path / "library"
    folder.mkdir()
    for number, text in enumerate([*BOOKS, " \n", BOOKS[1]]):
        (folder / f"{number}.txt").write_text(text)
    return folder


def opened(folder: Path) -> list[str]:
    """The long documents that a run on the folder would find."""
    data = DataConfig(source=f"shards:{folder}")
    corpus = open_corpus(data, vocab_size=257, long_min_tokens=10)
    return [ByteTokenizer().decode(document) for document in corpus.long.documents(1, EOT)]


def add(library: Path, shards: Path) -> int:
    return main(["data", "get", "books", str(library), "--tokenizer", "bytes", "--out", str(shards)])


@pytest.mark.parametrize("manifest", ["before", "after"])
def test_books_of_ones_own(library: Path, shards: Path, manifest: str, cache: Path) -> None:
    """Whole and in order; the manifest grows to what it would be, had all been there at once."""
    if manifest == "before":
        assert opened(shards) == []
    assert add(library, shards) == 0
    assert opened(shards) == BOOKS
    grown = read_manifest(shards / MANIFEST, "")
    assert [path.name for path in shards.glob("*long*")] == [
        shard.file for shard in grown.splits["long"].shards
    ]
    (shards / MANIFEST).unlink()
    assert open_given_folder(DataConfig(source=f"shards:{shards}"), vocab_size=257)[1] == grown
    assert main(["data", "verify", str(shards)]) == 0
    before = {path: path.stat().st_mtime_ns for path in shards.iterdir()}
    assert add(library, shards) == 0  # already there
    assert {path: path.stat().st_mtime_ns for path in shards.iterdir()} == before
    (library / "new.txt").write_text("A new book.")
    assert add(library, shards) == 0
    assert len(opened(shards)) == 2 * len(BOOKS) + 1  # other text is other files


def test_files_of_which_a_kill_left_some_are_written_again(
    library: Path, shards: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are moved to their places one by one."""
    monkeypatch.setitem(ShardWriter.__init__.__kwdefaults__, "shard_tokens", 1000)  # type: ignore[arg-type]
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if "_long_" in target.name and list(shards.glob("*_long_*.bin")):
            raise KeyboardInterrupt
        return real(self, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with contextlib.suppress(KeyboardInterrupt):
            add(library, shards)
    assert len(list(shards.glob("*_long_*.bin"))) == 1
    assert add(library, shards) == 0
    assert opened(shards) == BOOKS


def test_what_goes_wrong_leaves_the_folder_alone(
    library: Path, shards: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    opened(shards)
    before = {path.name: path.read_bytes() for path in shards.iterdir()}
    assert main(["data", "get", "books", str(library / "none"), "--out", str(shards)]) == 2
    assert main(["data", "get", "books", str(library), "--out", str(shards)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "holds tokens of bytes, not of gpt2; give --tokenizer bytes" in error
    (library / "7.txt").write_bytes(b"\xff\xff")
    assert add(library, shards) == 2  # found after five books
    assert "not UTF-8" in capsys.readouterr().err
    for path in library.iterdir():
        path.write_text(" ")
    assert add(library, shards) == 2
    assert "no text in any book" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in shards.iterdir()} == before


def test_without_datasets(
    shards: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert main(["data", "get", "pg19", "--tokenizer", "bytes", "--out", str(shards)]) == 2
    assert "pip install 'ngptlab[data]'" in capsys.readouterr().err
    assert sorted(path.suffix for path in shards.iterdir()) == [".bin", ".bin"]


def parquet(column: str = "text") -> bytes:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.Table.from_pylist([{"short_book_title": text[:7], column: text} for text in BOOKS])
    raw = io.BytesIO()
    pytest.importorskip("pyarrow.parquet").write_table(table, raw)
    return raw.getvalue()


@pytest.fixture
def get(shards: Path, tmp_path: Path, cache: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(hub: Hub, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        pytest.importorskip("datasets", reason="the extra `data` is not installed")
        endpoint = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1"}
        command = [
            sys.executable,
            "-m",
            "ngptlab",
            "data",
            "get",
            "pg19",
            "--tokenizer",
            "bytes",
            "--out",
            str(shards),
        ]
        return subprocess.run(
            [*command, *arguments],
            env={**os.environ, **endpoint, **environment},
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.extra
@pytest.mark.parametrize("kind", ["parquet", "jsonl", "converted"])
def test_pg19(kind: str, get: Callable[..., subprocess.CompletedProcess[str]], shards: Path) -> None:
    """Whichever way the hub has it; of a script, as deepmind/pg19 is, the hub's own conversion is read."""
    opened(shards)
    lines = "\n".join(json.dumps({"text": text}) for text in BOOKS).encode()
    files = {
        "parquet": {"data/test-00000-of-00001.parquet": parquet()},
        "jsonl": {"test.jsonl": lines, "validation.jsonl": b'{"text": "no"}'},
        "converted": {"pg19.py": b"import datasets"},
    }[kind]
    converted = {"default/test/0000.parquet": parquet(), "default/validation/0000.parquet": parquet()}
    with running(Hub(files={"deepmind/pg19": files}, other={"deepmind/pg19": converted})) as hub:
        got = get(hub)
    assert got.returncode == 0, got.stderr
    assert "pg19-test_long_000000.bin" in got.stdout
    assert opened(shards) == BOOKS


@pytest.mark.extra
def test_pg19_that_can_not_be_had(get: Callable[..., subprocess.CompletedProcess[str]], shards: Path) -> None:
    def error(hub: Hub, *arguments: str, **environment: str) -> str:
        got = get(hub, *arguments, **environment)
        lines = [line for line in got.stderr.splitlines() if line.startswith("ngptlab: ")]
        assert got.returncode == 2 and len(lines) == 1 and "Traceback" not in got.stderr, got.stderr
        return lines[0]

    with running(
        Hub(files={"deepmind/pg19": {"pg19.py": b""}, "x/y": {"test.parquet": parquet("body")}})
    ) as hub:
        assert "give a copy in parquet as --repo" in error(hub)
        assert "Dataset scripts are no longer supported" in error(hub, "--revision", "main")
        assert "has columns short_book_title, body, no string text" in error(hub, "--repo", "x/y")
        assert "deepmind/none" in error(hub, "--repo", "deepmind/none")
        assert "HF_HUB_OFFLINE is set" in error(hub, HF_HUB_OFFLINE="1")
        assert "deepmind/pg19" in error(hub, HF_ENDPOINT="http://127.0.0.1:9")
    assert sorted(path.suffix for path in shards.iterdir()) == [".bin", ".bin"]
