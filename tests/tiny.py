"""The smallest text and config that train."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from ngptlab import methods
from ngptlab.config import RunConfig, parse

WORDS = ("the", "a", "cat", "dog", "sat", "on", "under", "mat", "then", "for", "while", "red", "blue", "tall")


def write_texts(folder: Path) -> Path:
    """Forty files of 60 to 400 bytes in a new folder."""
    draw = random.Random(0)
    folder.mkdir()
    for number in range(40):
        words = draw.choices(WORDS, k=draw.randint(20, 90))
        (folder / f"{number:02d}.txt").write_text(" ".join(words))
    return folder


def tiny_config(texts: Path, method: str = "gpt", **changes: Any) -> RunConfig:
    """A resolved config of a run of some tenths of a second; `changes` are by section."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "method": method,
        "model": {"vocab_size": 257, "num_layers": 1, "num_heads": 2, "d_model": 16},
        "data": {"source": f"text:{texts}", "val_share": 0.2, "long_share": 0.3},
        "schedule": {"warmup_steps": 2},
        "train": {"steps": 8, "batch_size": 4, "context": 16},
        "eval": {"every": 3, "val_tokens": 64, "length_factor": 2, "length_documents": 3},
        "checkpoint": {"every": 3},
        "device": {"kind": "cpu", "threads": 1},
    }
    for section, values in changes.items():
        fields[section] = {**fields.get(section, {}), **values} if isinstance(values, dict) else values
    return methods.resolve(parse(fields, origin="a test"))
