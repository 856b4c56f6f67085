"""Tiny runs on a tiny corpus, in a cache of their own."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngptlab import methods
from ngptlab.config import RunConfig, parse

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
def make_config(corpus: Path) -> Callable[..., RunConfig]:
    """A resolved config of a run of some tenths of a second; `changes` are by section."""

    def make(method: str = "gpt", **changes: Any) -> RunConfig:
        fields: dict[str, Any] = {
            "name": "tiny",
            "method": method,
            "model": {"vocab_size": 257, "num_layers": 1, "num_heads": 2, "d_model": 16},
            "data": {"source": f"text:{corpus}", "val_share": 0.2, "long_share": 0.3},
            "schedule": {"warmup_steps": 2},
            "train": {"steps": 8, "batch_size": 4, "context": 16},
            "eval": {"every": 3, "val_tokens": 64, "length_factor": 2, "length_documents": 3},
            "checkpoint": {"every": 3},
            "device": {"kind": "cpu", "threads": 1},
        }
        for section, values in changes.items():
            fields[section] = {**fields.get(section, {}), **values} if isinstance(values, dict) else values
        return methods.resolve(parse(fields, origin="a test"))

    return make


@pytest.fixture
def outcome() -> Callable[[Path], dict[str, bytes]]:
    """The bytes in which a resumed run must equal an uninterrupted one."""

    def read(run: Path) -> dict[str, bytes]:
        last = sorted((run / "checkpoints").glob("step_*"))[-1]
        paths = [run / "metrics.jsonl", run / "evals.jsonl"]
        paths += [last / "model.safetensors", last / "optimizer.safetensors"]
        return {"last": last.name.encode(), **{path.name: path.read_bytes() for path in paths}}

    return read
