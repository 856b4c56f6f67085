"""Standard output and error that can't be written: the work is done and kept all the same."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

import pytest

from ngptlab import output
from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.experiment import train
from ngptlab.jobs import worker
from ngptlab.jobs.board import Board
from ngptlab.jobs.cell import Cell
from ngptlab.jobs.progress import Progress
from ngptlab.runs import Run
from ngptlab.train.progress import ConsoleReporter

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


def unread() -> TextIO:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", buffering=1)


def full() -> TextIO:
    return FULL.open("w", buffering=1)


@contextlib.contextmanager
def lost_stderr(opened: Callable[[], TextIO]) -> Iterator[None]:
    """Standard error, lost. Set in the test itself, because pytest sets its own before."""
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(OSError), opened() as stream:
        patch.setattr(sys, "stderr", stream)
        yield
        assert sys.stderr is stream


losses = pytest.mark.parametrize("opened", [unread, pytest.param(full, marks=needs_full)])


@losses
def test_a_training_goes_on(opened: Callable[[], TextIO], tiny: list[str], work: Path) -> None:
    with lost_stderr(opened):
        assert main(["train", "demo", *tiny, "--out", "run"]) == 0
    assert Run(work / "run").done


@losses
def test_a_reporter_in_a_program_of_ones_own_is_silent(
    opened: Callable[[], TextIO], make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    with lost_stderr(opened), ConsoleReporter("a title", 8, every_seconds=0.0) as reporter:
        train(make_config(), tmp_path / "run", reporter=reporter)
    assert Run(tmp_path / "run").done


@losses
def test_a_board_is_silent(opened: Callable[[], TextIO], make_config: Callable[..., RunConfig]) -> None:
    cell, ended = Cell(make_config()), False
    with lost_stderr(opened), Board([cell]) as board:
        board.set(cell, "done", Progress(8, 8))
        board.note("a note")
        board.refresh(1)
        ended = True
    assert ended


@losses
def test_a_preparation_goes_on(opened: Callable[[], TextIO], corpus: Path, work: Path) -> None:
    command = [
        "data",
        "prepare",
        str(corpus),
        "--out",
        "shards",
        "--tokenizer",
        "bytes",
        "--val-share",
        "0.3",
    ]
    with lost_stderr(opened):
        assert main(command) == 0
    assert (work / "shards" / "manifest.json").exists()


@losses
def test_errors_keep_their_exit_code(opened: Callable[[], TextIO], work: Path) -> None:
    with lost_stderr(opened):
        code = main(["train", "no such recipe"])
    assert code == 2


@losses
def test_a_workers_log_may_be_on_a_full_disk(opened: Callable[[], TextIO]) -> None:
    ended = False
    with lost_stderr(opened), output.guarded():
        worker._Notes().note("a note")
        ended = True
    assert ended


def test_a_stream_that_is_writable_again_is_written() -> None:
    class Sometimes(io.StringIO):
        broken = True

        def write(self, text: str) -> int:
            if self.broken:
                raise OSError(28, "No space left on device")
            return super().write(text)

    beneath = Sometimes()
    stream = output.Unfailing(beneath)
    print("lost", file=stream)
    beneath.broken = False
    print("told", file=stream)
    assert beneath.getvalue() == "told\n" and not stream.isatty()
    print("nowhere", file=output.Unfailing(None))


def shell(line: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, in which "$@" is our command."""
    return subprocess.run(
        ["bash", "-c", line, "bash", sys.executable, "-m", "ngptlab", *arguments],
        capture_output=True,
        text=True,
        timeout=250,
    )


@needs_full
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_full_standard_output_is_said(buffered: str) -> None:
    done = shell(f'PYTHONUNBUFFERED={buffered} exec "$@" > /dev/full', "methods")
    assert done.returncode == 2
    assert done.stderr == (
        "ngptlab: standard output can't be written (No space left on device); what was done is kept\n"
    )


def test_standard_streams_that_are_missing() -> None:
    """No file that is opened later gets their numbers, and nothing that is told of turns up in another one."""
    assert shell('exec "$@" >&- 2>&- <&-', "methods").returncode == 0
    wrong = shell('exec "$@" 2>&-', "train", "no such recipe")
    assert wrong.returncode == 2 and wrong.stdout == ""
    for guard in ("output.guarded", "terminal.any_text"):
        code = f"import os; from ngptlab import output, terminal\nwith {guard}(): os._exit(os.open('/dev/null', 0))"
        numbered = subprocess.run(
            ["bash", "-c", 'exec "$@" >&- 2>&- <&-', "bash", sys.executable, "-c", code], timeout=60
        )
        assert numbered.returncode > 2, guard


@pytest.mark.slow
def test_a_training_whose_reader_goes_away(tiny: list[str], work: Path) -> None:
    done = shell('"$@" 2>&1 | head -1; echo ${PIPESTATUS[0]}', "train", "demo", *tiny, "--out", "run")
    told, code = done.stdout.splitlines()
    assert "validation" in told and code == "141" and done.stderr == ""
    assert Run(work / "run").done
    assert shell('exec "$@" >&- 2>&-', "train", "demo", *tiny, "--out", "other").returncode == 0
    assert Run(work / "other").done
