"""The cache: made once, whole or not at all, known by content."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import ngptlab.errors
from ngptlab.data import corpus as corpus_module
from ngptlab.data.corpus import Corpus, Manifest
from ngptlab.data.prepare import text_to_shards as prepare_module
from ngptlab.data.text import sources

MakeFolder = Callable[[Iterable[str] | int], Path]
Prepared = Callable[..., Corpus]
Failure = Callable[..., str]


def only_folder(cache: Path) -> Path:
    (folder,) = (cache / "data").glob("[!.]*")
    return folder


def test_a_prepared_corpus_is_not_made_again(
    cache: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, prepared: Prepared
) -> None:
    folder = make_folder(30)
    first = prepared(folder)

    def refuse(name: str) -> None:
        raise AssertionError("neither text nor tokenizer is needed")

    monkeypatch.setattr(sources, "documents", refuse)
    monkeypatch.setattr(corpus_module, "tokenizer", refuse)
    assert prepared(folder).digest == first.digest


def test_what_decides_the_tokens_decides_the_folder(
    cache: Path, make_folder: MakeFolder, prepared: Prepared
) -> None:
    folder = make_folder(30)
    prepared(folder)
    prepared(folder, seed=7)  # decides the order of batches only
    assert len(list((cache / "data").iterdir())) == 1
    prepared(folder, val_share=0.2)
    prepared(folder, long_share=0.2)
    prepared(folder, long_min_tokens=41)
    (folder / "0000.txt").write_text("changed text")
    prepared(folder)
    assert len(list((cache / "data").iterdir())) == 5


def test_the_digest_is_of_content_not_of_places(
    tmp_path: Path, make_folder: MakeFolder, cache: Path, prepared: Prepared
) -> None:
    folder = make_folder(30)
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "other-name")
    for file in moved.iterdir():
        os.utime(file, ns=(1, 1))
    here, there = prepared(folder), prepared(moved)
    assert here.digest == there.digest
    assert str(tmp_path) not in here.manifest.model_dump_json()
    assert here.manifest.source == "text:texts"
    (moved / "0003.txt").write_text("another text")
    assert prepared(moved).digest != here.digest


def test_default_cache_is_below_home(
    tmp_path: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, prepared: Prepared
) -> None:
    monkeypatch.delenv("NGPTLAB_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    prepared(make_folder(5))
    assert only_folder(tmp_path / ".cache" / "ngptlab").is_dir()


def test_two_processes_preparing_at_once_both_end_well(
    cache: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, prepared: Prepared
) -> None:
    folder = make_folder(30)
    real = prepare_module.prepare

    def slower(*args: object, **kwargs: object) -> Manifest:
        manifest = real(*args, **kwargs)  # type: ignore[arg-type]
        monkeypatch.setattr(corpus_module, "prepare", real)
        prepared(folder)  # the other one begins later and is done first
        return manifest

    monkeypatch.setattr(corpus_module, "prepare", slower)
    digest = prepared(folder).digest
    assert digest == prepared(folder).digest
    assert list((cache / "data").iterdir()) == [only_folder(cache)]


def test_a_kill_while_preparing_leaves_nothing_half_made(
    cache: Path, make_folder: MakeFolder, prepared: Prepared
) -> None:
    folder = make_folder(30)
    script = f"""
import os, signal
from ngptlab.config import DataConfig
from ngptlab.data.prepare import text_to_shards
from ngptlab.data.corpus import open_corpus
text_to_shards.fsync_folder = lambda folder: os.kill(os.getpid(), signal.SIGKILL)  # all is written, nothing renamed
open_corpus(DataConfig(source="text:{folder}"), vocab_size=257, long_min_tokens=40)
"""
    package = Path(ngptlab.errors.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": str(package)}, check=False
    )
    assert result.returncode == -signal.SIGKILL
    (left,) = (cache / "data").iterdir()
    assert left.name.startswith(".") and (left / "manifest.json").exists()
    assert len(prepared(folder).train) > 0
    assert only_folder(cache) != left and left.exists()


def test_a_failure_while_preparing_leaves_nothing_at_all(
    cache: Path, make_folder: MakeFolder, failure: Failure
) -> None:
    folder = make_folder(30)
    (folder / "z.txt").write_bytes(b"\xff")
    assert "z.txt: not UTF-8" in failure(folder)
    assert list((cache / "data").iterdir()) == []


def test_a_source_that_changes_meanwhile_is_refused(
    cache: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, failure: Failure
) -> None:
    folder = make_folder(30)
    real = prepare_module._batches

    def batches(*arguments: object) -> object:
        (folder / "new.txt").write_text("new")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare_module, "_batches", batches)
    assert "changed while it was read" in failure(folder)
    assert list((cache / "data").iterdir()) == []
