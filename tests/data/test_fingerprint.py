"""A fingerprint changes whenever a cached tokenization may be out of date."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from ngptlab.data.text.sources import fingerprint


def test_fingerprint_changes_with_name_size_and_time(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("aaaa")
    os.utime(file, ns=(10**18, 10**18))
    source = f"text:{tmp_path}"
    seen = [fingerprint(source)]
    assert fingerprint(source) == seen[0]
    file.write_text("bbbb")
    os.utime(file, ns=(10**18, 10**18 + 1))
    seen.append(fingerprint(source))
    file.write_text("bbbbb")
    os.utime(file, ns=(10**18, 10**18 + 1))
    seen.append(fingerprint(source))
    file.rename(tmp_path / "b.txt")
    seen.append(fingerprint(source))
    (tmp_path / "c.md").write_text("")
    seen.append(fingerprint(source))
    assert len(set(seen)) == len(seen)


def test_fingerprint_tells_folders_apart_and_ignores_other_files(tmp_path: Path) -> None:
    for name, text in (("one", "aaaa"), ("two", "bbbb")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(text)
        os.utime(tmp_path / name / "a.txt", ns=(10**18, 10**18))
    one = fingerprint(f"text:{tmp_path}/one")
    assert one != fingerprint(f"text:{tmp_path}/two")
    assert one == fingerprint(f"text:{tmp_path}/two/../one/")
    (tmp_path / "one" / "b.csv").write_text("no document")
    assert one == fingerprint(f"text:{tmp_path}/one")


def test_fingerprint_of_stdlib_has_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint("stdlib")
    monkeypatch.setattr(platform, "python_version", lambda: "4.0.0")
    assert fingerprint("stdlib") != before
