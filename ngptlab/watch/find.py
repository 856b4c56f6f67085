"""Run directories at and below a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

MAX_DEPTH = 4
"""Folders between the one given and a run: `<out>/runs/<run>` is two; a folder of several studies has one more."""


def find(folder: Path, depth: int = MAX_DEPTH) -> Iterator[Path]:
    """Folders with a `config.json`, by name. Nothing is looked for inside a run, behind a link, or in a hidden folder."""
    if (folder / "config.json").is_file():
        yield folder
        return
    if not depth:
        return
    try:
        with os.scandir(folder) as entries:
            inner = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
            )
    except OSError:  # it went away, or is not ours to read
        return
    for name in inner:
        yield from find(folder / name, depth - 1)
