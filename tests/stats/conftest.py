"""What holds of every analysis that writes <name>.json, .csv, .png and .svg."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngptlab.errors import ConfigError

Written = Callable[[Callable[[Any, Path], None], Any, str], dict[str, bytes]]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Write a result, hold its files against what they promise, and return them by name."""

    def check(write: Callable[[Any, Path], None], result: Any, name: str) -> dict[str, bytes]:
        write(result, tmp_path / "out")
        first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        assert sorted(first) == [f"{name}.{ending}" for ending in ("csv", "json", "png", "svg")]
        assert json.loads(first[f"{name}.json"]) == result
        assert first[f"{name}.png"].startswith(b"\x89PNG") and b"</svg>" in first[f"{name}.svg"]
        write(result, tmp_path / "out")
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == first
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="give another --out"):
            write(result, tmp_path / "file")
        return first

    return check
