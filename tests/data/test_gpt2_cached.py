"""Whether GPT-2's vocabulary can be had without a network: what a page asks before it lets a model write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ngptlab.data.tokens import gpt2
from ngptlab.data.tokens.gpt2 import FOLDERS, gpt2_encoding, is_cached
from ngptlab.errors import DataError


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_with_files_is_a_cache(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in FOLDERS:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, str(tmp_path / "cache"))
    assert not is_cached(), "not there"
    (tmp_path / "cache").mkdir()
    assert not is_cached(), "empty"
    (tmp_path / "cache" / "a").write_text("x")
    assert is_cached()
    monkeypatch.setenv(FOLDERS[0], "")
    assert not is_cached(), "an empty name turns the cache off"


def test_a_fifo_where_tiktoken_looks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder in the machine's temporary one is anybody's."""
    for each in FOLDERS:
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setattr(gpt2, "temporary", lambda: tmp_path)
    assert not is_cached()
    (tmp_path / "data-gym-cache").mkdir()
    os.mkfifo(tmp_path / "data-gym-cache" / "a")
    with pytest.raises(DataError, match="a FIFO, not a regular file; tiktoken would read it"):
        gpt2_encoding()
