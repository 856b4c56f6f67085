"""A few trials of each kind, all lengths of small files, and whether the harness sees what is missing. `make faults` has many."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from crash_disk import CUTS, Act, Disk, Tree, after_power_cut, crashes, recording

from ngptlab import disk, folders
from ngptlab.config import RunConfig
from ngptlab.disk import write_bytes
from ngptlab.errors import CheckpointError
from ngptlab.runs import Run
from ngptlab.train.checkpoint import read_checkpoint, save_checkpoint

CAMPAIGN = Path(__file__).with_name("campaign.py")


def campaign(*targets: str, seconds: float = 880) -> str:
    """What the campaign says of so many trials, all of which went well."""
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN), *targets], capture_output=True, text=True, timeout=seconds
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(900)  # half a minute where nobody else computes
def test_a_few_of_each() -> None:
    told = campaign(
        "kills=5",
        "signals=3",
        "full_disks=4",
        "flips=300",
        "orders=100",
        "save_glances=1000",
        "async_kills=3",
        "async_save_glances=40",
        "file_crashes=1000",
    )
    assert "save_glances" in told and "0 wrong" in told


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Of a model of three numbers."""
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return save_checkpoint(
        tmp_path / "checkpoints", step=1, config_hash="0" * 8, model=model, optimizer=optimizer, keep=2
    )


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "manifest.json"])
def test_every_length(name: str, checkpoint: Path) -> None:
    """The end of the last line is all that a manifest can lose, and white space all that it can gain."""
    content = (checkpoint / name).read_bytes()
    others = [content[:length] for length in range(len(content))]
    others += [
        content + more
        for length in (1, 2, 7, 8, 64, 4096)
        for more in (bytes(length), b"\n" * length, b"{" * length)
    ]
    for other in others:
        (checkpoint / name).write_bytes(other)
        if name.endswith(".json") and other.strip() == content.strip():
            read_checkpoint(checkpoint)
            continue
        with pytest.raises(CheckpointError, match="damaged"):
            read_checkpoint(checkpoint)
    (checkpoint / name).write_bytes(content)
    read_checkpoint(checkpoint)


def test_every_bit_of_a_manifest(checkpoint: Path) -> None:
    """The name of its digest is all that may change: what the digest is of is whole then."""
    content = (checkpoint / "manifest.json").read_bytes()
    taken = set()
    for place in range(len(content)):
        for bit in range(8):
            wrong = bytearray(content)
            wrong[place] ^= 1 << bit
            (checkpoint / "manifest.json").write_bytes(wrong)
            try:
                read_checkpoint(checkpoint)
            except CheckpointError:
                continue
            if not content[place : place + 1].isspace():
                taken.add(place)
    first = content.index(b'"sha256": "', content.rindex(b"}", 0, -2)) + 1
    assert taken <= set(range(first, first + len("sha256")))


def without(what: str) -> Callable[[list[Act]], list[Act]]:
    return lambda acts: [act for act in acts if act.what != what]


def name_first(acts: list[Act]) -> list[Act]:
    """The rename before the file's content was waited for."""
    (rename,) = [act for act in acts if act.what == "rename"]
    rest = [act for act in acts if act is not rename]
    written = next(number for number, act in enumerate(rest) if act.what == "write")
    return [*rest[: written + 1], rename, *rest[written + 1 :]]


@pytest.mark.parametrize(
    "broken, found",
    [(lambda acts: acts, False), (without("fsync"), True), (name_first, True), (without("create"), True)],
    ids=["as it is", "nothing is waited for", "the name comes first", "written in place"],
)
def test_what_is_missing_is_seen(
    broken: Callable[[list[Act]], list[Act]], found: bool, tmp_path: Path
) -> None:
    """A file that takes another's place: it must be the old one or the new one after any crash."""
    old, new, root = b"old" * 10, b"new" * 4000, tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(old)
    with recording(root) as recorder:
        write_bytes(root / "file", new)
    acts = recorder.acts
    if found and len(without("create")(acts)) == len(broken(acts)):  # written in place of the old one
        acts = [
            Act("open", "file", handle=1),
            Act("truncate", "file", handle=1),
            Act("write", "file", handle=1, content=new),
        ]
    else:
        acts = broken(acts)
    start = tmp_path / "start"
    start.mkdir()
    (start / "file").write_bytes(old)
    left = {each.tree.get("file") for each in crashes(start, acts, random.Random(0), within=range(len(acts)))}
    assert (left - {old, new} != set()) == found


def kept_for_sure(start: Path, acts: list[Act]) -> Tree:
    """What is on the disk after these calls, whenever the power goes."""
    disk = Disk(start)
    for act in acts:
        disk.do(act)
    _, names, data = CUTS[0]
    return after_power_cut(disk, names, data, random.Random(0))


@pytest.mark.parametrize(("number", "made"), [(errno.EACCES, True), (errno.EIO, False)])
def test_a_folder_that_may_be_written_and_not_read(
    number: int, made: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As scratch of many users may be. It can't be opened, and so not be put on the disk; other errors stand.

    Whatever is made there: folders, and files.
    """
    opened = os.open

    def refusing(path: Any, *arguments: Any, **named: Any) -> int:
        if Path(path) == tmp_path:
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *arguments, **named)

    monkeypatch.setattr(os, "open", refusing)
    with contextlib.nullcontext() if made else pytest.raises(OSError, match=os.strerror(number)):
        folders.make(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir() == made
    with contextlib.nullcontext() if made else pytest.raises(OSError, match=os.strerror(number)):
        folders.own(tmp_path / "own")
    with contextlib.nullcontext() if made else pytest.raises(OSError, match=os.strerror(number)):
        disk.write_text(tmp_path / "file", "text")


def test_names_of_new_folders_and_streams_last(make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    root, start = tmp_path / "root", tmp_path / "start"
    root.mkdir(), start.mkdir()
    config = make_config()
    with recording(root) as recorder:
        folders.make(root / "a" / "b")
        folders.own(root / "a" / "b" / "c")
        run = Run.open(root / "runs" / "run", config)
        run.append("metrics", {"step": 1})
        run.sync()
    kept = kept_for_sure(start, recorder.acts)
    names = {"a", "a/b", "a/b/c", "runs", "runs/run", "runs/run/config.json", "runs/run/metrics.jsonl"}
    assert set(kept) == names and kept["runs/run/metrics.jsonl"] == b'{"step": 1}\n'
    for number, act in enumerate(recorder.acts):
        rest = recorder.acts[number + 1 :]
        again = any((other.what, other.path) == ("fsync", act.path) for other in rest)
        if act.what == "fsync" and not again:
            assert kept_for_sure(start, [*recorder.acts[:number], *rest]) != kept, f"{act} was not needed"
