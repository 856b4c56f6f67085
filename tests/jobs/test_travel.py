"""A run folder that travels: what is sent, what arrives, and what is refused because of its name, its form or its size."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest

from ngptlab import folders
from ngptlab.errors import DataError
from ngptlab.jobs import travel
from ngptlab.jobs.travel import checked, pack, unpack

RUN = {
    "config.json": b"{}",
    "metrics.jsonl": b"1\n2\n",
    "checkpoints/step_000002/model.safetensors": bytes(range(256)),
    "methods/my_idea@12345678.py": b"METHOD = 1\n",
    "empty": b"",
}


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_packed_arrives(tmp_path: Path) -> None:
    unpack(RUN, tmp_path / "a")
    assert pack(tmp_path / "a") == RUN == tree(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"], "nothing is left beside it"
    assert pack(tmp_path / "nothing there") == {}


def test_it_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    """No file of the older one stays: a run that has been rewound has fewer."""
    unpack({**RUN, "skipped.jsonl": b"old\n"}, tmp_path / "a")
    unpack(RUN, tmp_path / "a")
    assert tree(tmp_path / "a") == RUN and os.listdir(tmp_path) == ["a"]


def test_locks_links_and_half_written_files_stay(tmp_path: Path) -> None:
    unpack(RUN, tmp_path / "a")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (tmp_path / "a" / ".lock").touch()
    (tmp_path / "a" / ".metrics.jsonl.0123456789abcdef.tmp").touch()
    (tmp_path / "a" / "checkpoints" / ".step.tmp").mkdir()
    (tmp_path / "a" / "checkpoints" / ".step.tmp" / "model").touch()
    (tmp_path / "a" / "link").symlink_to(secret)
    (tmp_path / "a" / "folder").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "a" / "fifo")
    assert pack(tmp_path / "a") == RUN
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="a link"):
        pack(tmp_path / "b")


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "/etc/passwd", "..", ".", "../up", "a/../../up", "a/..", "./a", "a//b", "a/", "//a"),
        *(
            "a\0b",
            "a\nb",
            "a\\b",
            "\x1b[2J",
            "\ud800",
            "\u202egpj",
            ".lock",
            "a/.hidden",
            "a/b/c/d/e",
            "x" * 256,
            "é" * 128,
        ),
        *(b"bytes", 7, None, ("a",)),
    ],
)
def test_hostile_names(name: Any, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    unpack(RUN, tmp_path / "study" / "a")
    with pytest.raises(DataError, match="which is no file of a run; nothing of it is kept") as caught:
        unpack({"config.json": b"other", name: b"x"}, tmp_path / "study" / "a")
    assert str(caught.value).isprintable()
    assert tree(tmp_path) == {f"study/a/{each}": content for each, content in RUN.items()}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([("a", b"x")], "as list"),
        ("a", "as str"),
        (None, "as NoneType"),
        ({"a": "text"}, "no file of a run"),
        ({"a": bytearray(b"x")}, "no file of a run"),
        ({"a": {"b": b"x"}}, "no file of a run"),
        ({"a": b"x", "a/b": b"x"}, "'a' as a file and as a folder"),
        ({"a/b/c": b"x", "a/b": b"x"}, "'a/b' as a file and as a folder"),
    ],
)
def test_other_things_than_files(files: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        unpack(files, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpack(RUN, tmp_path / "a")
    size = sum(map(len, RUN.values()))
    for name, most in (("MOST_BYTES", size), ("MOST_FILES", len(RUN))):
        with monkeypatch.context() as patch:
            patch.setattr(travel, name, most)
            assert checked(pack(tmp_path / "a")) == RUN
            patch.setattr(travel, name, most - 1)
            for act in (lambda: pack(tmp_path / "a"), lambda: checked(RUN)):
                with pytest.raises(DataError, match="give an --out that all of them share"):
                    act()


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="a link"):
        unpack(RUN, tmp_path / "a")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_kill_leaves_the_old_one_or_the_new_one_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every rename, and at every file. Who may next removes what is left beside, and puts the old one back for none."""
    old = {"config.json": b"old", "metrics.jsonl": b"old\n"}

    class Killed(BaseException):
        pass

    def killing(call: Any, at: int) -> Any:
        count = 0

        def counted(*given: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count > at:
                raise Killed
            return call(*given, **named)

        return counted

    seen = set()
    for at in range(12):
        folder = tmp_path / str(at)
        folder.mkdir()
        unpack(old, folder / "a")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", killing(Path.rename, at % 4))
            patch.setattr(travel, "write_bytes", killing(travel.write_bytes, at))
            with contextlib.suppress(Killed):
                unpack(RUN, folder / "a")
        there = tree(folder / "a") if (folder / "a").exists() else None
        assert there in (old, RUN, None)
        seen.add("old" if there == old else "new" if there == RUN else "none")
        folders.remove_temporaries(folder)
        assert os.listdir(folder) == ["a"] and tree(folder / "a") == (there or old)
    assert seen == {"old", "new", "none"}, "the trials meet all three"


def test_only_a_whole_folder_that_is_missed_is_put_back(tmp_path: Path) -> None:
    """Not a link of a stranger's, not what a kill left half removed, and not over what is there."""
    name = "0123456789abcdef.tmp"
    for left in (f".a~.{name}", f".b.{name}", f".d~.{name}"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "old").touch()
    (tmp_path / "d").mkdir()
    (tmp_path / f".c~.{name}").symlink_to(tmp_path)
    (tmp_path / f"...~.{name}").mkdir()
    folders.remove_temporaries(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a", "d"]
    assert os.listdir(tmp_path / "a") == ["old"] and not os.listdir(tmp_path / "d")
