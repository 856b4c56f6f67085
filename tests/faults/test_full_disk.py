"""A disk that is full: one line with the path and the bytes that had no room, exit code 2, and what was finished stays."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ngptlab.cli import main
from ngptlab.disk import NoRoom, naming, write_bytes
from ngptlab.runs import Run
from ngptlab.train import checkpoint
from ngptlab.train.checkpoint import list_checkpoints

Failure = Callable[..., str]
PAGE = 4096
BALLAST = "ballast"


@pytest.fixture
def disk(work: Path) -> Iterator[Path]:
    """A disk of three megabytes. Making one takes root's rights and a system that lets it."""
    folder = work / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def leave(disk: Path, free: int) -> None:
    """Fill the disk, but for so many bytes in pages of 4096."""
    (disk / BALLAST).unlink(missing_ok=True)
    status = os.statvfs(disk)
    write_bytes(disk / BALLAST, bytes(max(0, status.f_bavail * status.f_frsize - free)))


def make_room(disk: Path) -> None:
    (disk / BALLAST).unlink()


@pytest.fixture
def failure(capsys: pytest.CaptureFixture[str]) -> Failure:
    """Run a command line that finds no room; the line that it ends with."""

    def fail(*arguments: object) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        err = capsys.readouterr().err
        line = err.splitlines()[-1]
        assert line.startswith("ngptlab: ") and "Traceback" not in err
        assert re.search(r"No space left on device \((\d+ bytes to write, )?\d+ free\)", line), line
        return line

    return fail


def no_temporaries(folder: Path) -> bool:
    return not [path for path in folder.rglob(".*") if path.suffix == ".tmp"]


@pytest.mark.parametrize("free", [0, PAGE, 10 * PAGE, 30 * PAGE, 60 * PAGE])
def test_a_training(
    free: int,
    disk: Path,
    work: Path,
    tiny: list[str],
    failure: Failure,
    outcome: Callable[[Path], dict[str, bytes]],
) -> None:
    """From no room for its config to room for one checkpoint. With room again, it ends with the same bytes."""
    command = ["train", "demo", *tiny, "--train.steps", "8", "--checkpoint.every", "2", "--out"]
    assert main([*command, "straight"]) == 0
    leave(disk, free)
    line = failure(*command, "disk/run")
    assert "disk/run" in line and "bytes to write" in line
    assert no_temporaries(disk)
    make_room(disk)
    assert main([*command, "disk/run"]) == 0
    assert outcome(disk / "run") == outcome(work / "straight")


def test_a_checkpoint_says_how_large_it_is(disk: Path, tiny: list[str], failure: Failure) -> None:
    command = ["train", "demo", *tiny, "--checkpoint.every", "2", "--out", "disk/run"]
    leave(disk, 20 * PAGE)
    line = failure(*command)
    assert re.search(
        r"disk/run/checkpoints/step_\d+: can't be saved \(No space left on device \(\d{5,} bytes to write, \d+ free\)\)",
        line,
    ), line
    assert Run(disk / "run").summary["status"] == "failed" or not (disk / "run" / "summary.json").exists()
    make_room(disk)
    assert main(command) == 0 and list_checkpoints(disk / "run" / "checkpoints")


@pytest.fixture
def finished(work: Path, tiny: list[str]) -> str:
    assert main(["train", "demo", *tiny, "--out", "run"]) == 0
    return "run"


def test_results(disk: Path, work: Path, finished: str, failure: Failure) -> None:
    """Of an evaluation, in the run and beside it; of a report, an export and an import."""
    assert main(["export", finished, "model"]) == 0
    shutil.move(work / "run", disk / "run")
    assert main(["eval", "disk/run", "--evals", "val"]) == 0
    before = (disk / "run" / "evals" / "val.json").read_bytes()
    leave(disk, 0)
    assert "disk/run/evals/val.json" in failure("eval", "disk/run", "--evals", "val")
    assert (disk / "run" / "evals" / "val.json").read_bytes() == before
    leave(disk, PAGE)  # for the run's own file
    assert "disk/out" in failure("eval", "disk/run", "--evals", "scales", "--out", "disk/out")
    assert "disk/report" in failure("report", "disk/run", "--out", "disk/report")
    leave(disk, 10 * PAGE)
    assert "disk/model" in failure("export", "disk/run", "disk/model")
    assert "disk/back" in failure("import", "model", "disk/back")
    assert no_temporaries(disk) and not (disk / "model").exists()
    make_room(disk)
    for command in (["eval", "disk/run", "--evals", "val"], ["export", "disk/run", "disk/model"]):
        assert main(command) == 0


@pytest.mark.parametrize("free", [0, 2 * PAGE, 6 * PAGE])
def test_a_preparation(free: int, disk: Path, work: Path, corpus: Path, failure: Failure) -> None:
    for number in range(40):
        (corpus / f"more{number:02d}.txt").write_text(f"{number} " + "words " * 200)
    command = ["data", "prepare", corpus, "--tokenizer", "bytes", "--val-share", "0.3", "--out"]
    assert main([str(part) for part in [*command, "straight"]]) == 0
    leave(disk, free)
    line = failure(*command, "disk/shards")
    assert "disk/shards/" in line and "bytes to write" in line
    make_room(disk)
    assert main([str(part) for part in [*command, "disk/shards"]]) == 0
    straight, shards = (
        {p.name: p.read_bytes() for p in f.iterdir()} for f in (work / "straight", disk / "shards")
    )
    assert straight == shards


def test_a_cache(
    disk: Path, work: Path, tiny: list[str], failure: Failure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NGPTLAB_CACHE", str(disk / "cache"))
    leave(disk, PAGE)
    line = failure("train", "demo", *tiny, "--out", "run")
    assert "disk/cache" in line and "NGPTLAB_CACHE" in line and not (work / "run").exists()
    assert no_temporaries(disk)


def test_a_limit_on_a_files_size(tiny: list[str], work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same where a system limits files and nobody may mount a disk."""
    command = ["train", "demo", *tiny, "--out", "run"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert main(["train", "demo", *tiny, "--out", "straight"]) == 0  # the corpus is there then
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        code = main(command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    line = capsys.readouterr().err.splitlines()[-1]
    assert code == 2 and "run/checkpoints/step_" in line
    assert re.search(r"File too large \(\d+ bytes to write", line), line
    assert main(command) == 0


def test_the_first_error_is_told(
    tiny: list[str], work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no room for the summary either."""

    def full(*arguments: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "the second error")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write", full)
        patch.setattr(Run, "finish", full)
        assert main(["train", "demo", *tiny, "--out", "run"]) == 2
    assert "run/checkpoints/step_" in capsys.readouterr().err.splitlines()[-1]


def test_the_inner_ones_words_stand() -> None:
    with pytest.raises(NoRoom) as caught, naming(Path("/outer"), 1), naming(Path("/tmp/inner"), 7):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    assert caught.value.filename == "/tmp/inner" and "7 bytes to write" in str(caught.value.strerror)
    with pytest.raises(FileNotFoundError), naming(Path("/outer"), 1):
        raise OSError(errno.ENOENT, "No such file or directory")
