"""Tiny runs on a tiny corpus, in a cache of their own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

WORDS = ("the", "a", "cat", "dog", "sat", "on", "under", "mat", "then", "for", "while", "red", "blue", "tall")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("NGPTLAB_CACHE", str(folder))
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Forty files of 60 to 400 bytes."""
    folder, draw = tmp_path / "texts", random.Random(0)
    folder.mkdir()
    for number in range(40):
        words = draw.choices(WORDS, k=draw.randint(20, 90))
        (folder / f"{number:02d}.txt").write_text(" ".join(words))
    return folder


@pytest.fixture
def tiny(corpus: Path) -> list[str]:
    """The demo recipe shrunk by overrides to a run of some tenths of a second."""
    fields = {
        "data.source": f"text:{corpus}",
        "data.val-share": "0.2",
        "data.long-share": "0.3",
        "model.num-layers": "1",
        "model.num-heads": "2",
        "model.d-model": "16",
        "train.steps": "6",
        "train.batch-size": "4",
        "train.context": "16",
        "eval.every": "3",
        "eval.val-tokens": "64",
        "eval.length-factor": "2",
        "eval.length-documents": "3",
        "device.kind": "cpu",
        "device.threads": "1",
    }
    return [part for field, value in fields.items() for part in (f"--{field}", value)]
