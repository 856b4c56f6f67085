"""Whether GPT-2's vocabulary can be had without a network: what a page asks before it lets a model write."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngptlab.data.tokens.gpt2 import FOLDERS, is_cached


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
