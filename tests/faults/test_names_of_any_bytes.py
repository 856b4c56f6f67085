"""Folders whose names are no UTF-8, as from an old disk: either they work, or one line says so before any work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.experiment import train
from ngptlab.runs import Run
from ngptlab.trained import open_trained

NAME = os.fsdecode(b"caf\xe9")


@pytest.fixture
def odd(work: Path) -> Path:
    folder = work / NAME
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"this file system takes no such name ({error.strerror})")
    return folder


Failure = Callable[..., str]


@pytest.fixture
def failure(capsys: pytest.CaptureFixture[str], cache: Path) -> Failure:
    def fail(*arguments: object) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and "not UTF-8" in err and "ln -s" in err
        assert not cache.exists(), "work was done before"
        return err

    return fail


def test_what_a_config_must_name_is_refused_before_any_work(
    odd: Path, corpus: Path, failure: Failure, tiny: list[str], work: Path
) -> None:
    shutil.copytree(corpus, odd / "texts")
    assert "data.source 'text:" in failure(
        "data", "prepare", odd / "texts", "--out", "out", "--tokenizer", "bytes"
    )
    assert "--out: data.source" in failure(
        "data", "prepare", corpus, "--out", odd / "out", "--tokenizer", "bytes"
    )
    assert "data.tokenizer" in failure(
        "data", "prepare", corpus, "--out", "out", "--tokenizer", odd / "t.json"
    )
    assert "--out: data.source" in failure("data", "get", "fineweb10B", "--out", odd / "out")
    for field, value in (
        ("source", f"text:{odd / 'texts'}"),
        ("source", f"shards:{odd}"),
        ("tokenizer", odd / "t.json"),
    ):
        assert f"data.{field} " in failure("train", "demo", *tiny, f"--data.{field}", value)
    assert sorted(path.name for path in work.iterdir()) == [NAME]


def test_a_link_of_another_name_works(odd: Path, corpus: Path, work: Path, tiny: list[str]) -> None:
    shutil.copytree(corpus, odd / NAME)
    (work / "link").symlink_to(odd / NAME)
    assert main(["data", "prepare", "link", "--out", "shards", "--tokenizer", "bytes"]) == 0
    assert '"source": "text:caf\\\\udce9"' in (work / "shards" / "manifest.json").read_text()
    (odd / "shards").symlink_to(work / "shards")
    assert main(["data", "verify", str(odd / "shards")]) == 0
    assert main(["train", "demo", *tiny, "--data.source", "text:link", "--out", "run"]) == 0


def test_runs_there_are_trained_resumed_measured_and_shown(
    odd: Path, make_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, path = make_config(), odd / NAME
    train(config, path)
    (path / "summary.json").unlink()
    train(config, path)  # reads the checkpoint
    assert Run(path).done and open_trained(path).step == 8
    monkeypatch.chdir(odd)
    assert main(["report", NAME, "--out", "page"]) == 0
    assert "caf\\udce9" in (odd / "page" / "report.html").read_text()
    assert main(["eval", str(path), "--evals", "val"]) == 0
    assert main(["export", str(path), "exported"]) == 0
    assert main(["import", "exported", "imported"]) == 0


def test_paths_inside_such_a_folder(
    odd: Path, corpus: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(corpus, odd / "texts")
    monkeypatch.chdir(odd)
    monkeypatch.setenv("NGPTLAB_CACHE", str(odd / "cache"))
    assert (
        main(
            ["data", "prepare", "texts", "--out", "shards", "--tokenizer", "bytes", "--long-min-tokens", "40"]
        )
        == 0
    )
    for number, source in enumerate(("text:texts", "shards:shards")):
        assert main(["train", "demo", *tiny, "--data.source", source, "--out", f"run{number}"]) == 0
