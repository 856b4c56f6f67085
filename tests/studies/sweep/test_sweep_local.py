"""Sweeps that end well, badly, or not at all; in each case the table is right and the same command goes on."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.jobs.board import Board
from ngptlab.jobs.cell import Cell
from ngptlab.jobs.cell_log import last_words, tell_warnings, warnings
from ngptlab.jobs.local import Local, studying
from ngptlab.jobs.outcome import Outcome
from ngptlab.jobs.progress import Progress, eta_seconds, read_progress
from ngptlab.jobs.worker import wait_for
from ngptlab.runs import Run

Make = Callable[..., RunConfig]
Captured = pytest.CaptureFixture[str]
GRID = ["--methods", "gpt", "--params", "sp", "--widths", "16", "--workers", "2"]
COMMAND = [sys.executable, "-c", "import sys; from ngptlab.cli import main; sys.exit(main())"]


def table_of(out: Path) -> list[dict[str, str]]:
    """The rows without times: what must not depend on how often a sweep was stopped."""
    with (out / "sweep.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow  # three processes with torch
def test_done_diverged_and_failed(tiny: list[str], tmp_path: Path, capsys: Captured) -> None:
    """A wild rate diverges, a run directory in the way fails, and neither stops the others."""
    wild = ["--schedule.warmup-steps", "0", "--schedule.shape", "constant"]
    out = tmp_path / "out"
    command = ["sweep", "mup-bytes-small", *tiny, *wild, *GRID, "--out", str(out), "--lrs", "2^-9", "1e30"]
    assert main(command) == 0, "a divergence is a result"
    printed = capsys.readouterr()
    table = table_of(out)
    assert [row["status"] for row in table] == ["done", "diverged"]
    assert "lower --optim.lr" in table[1]["reason"] and table[1]["final_loss_nats"] == ""
    assert "Runs that diverged: 1" in printed.out and ": diverged" in printed.err
    assert (out / "sweep.png").stat().st_size > 1000 and "<svg" in (out / "sweep.svg").read_text()

    # Again, with one rate more, whose directory is occupied: only that one is tried, and it fails by itself.
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}
    json_before = (out / "sweep.json").read_bytes()
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")} == before
    assert (out / "sweep.json").read_bytes() == json_before
    capsys.readouterr()
    for row in table:
        run = next((out / "runs").glob(f"*-{row['hash']}"))
        if row["status"] == "done":
            (run / "config.json").unlink()
    assert main(command) == 1
    again = table_of(out)
    assert [row["status"] for row in again] == ["failed", "diverged"]
    assert "neither empty nor a run directory" in again[0]["reason"]
    assert "1 cell failed" in capsys.readouterr().err


@pytest.mark.slow  # six processes with torch
@pytest.mark.parametrize("stack", [[], ["--workers", "1", "--stack", "2"]], ids=["cells", "stack"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_sweep_goes_on(
    tiny: list[str], tmp_path: Path, number: signal.Signals, stack: list[str]
) -> None:
    steps = ["--train.steps", "150", "--checkpoint.every", "10", "--eval.every", "50"]
    command = ["sweep", "mup-bytes-small", *tiny, *steps, *GRID, "--lrs", "2^-9", "2^-7", *stack]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main([*command, "--out", str(whole)]) == 0

    process = subprocess.Popen(
        [*COMMAND, *command, "--out", str(broken)], stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stderr is not None
    wait_until(lambda: len(running(broken, more_than=15)) == 2)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number and f"stopped by {number.name}".encode() in err
        assert {row["status"] for row in table_of(broken)} == {"stopped"}
    # Whoever ended the sweep, its workers save and stop too; nothing trains on.
    runs = sorted((broken / "runs").iterdir())
    wait_until(lambda: all(Run(run).summary.get("status") == "stopped" for run in runs))
    assert all(0 < read_progress(run, 150).step < 150 for run in runs)

    assert main([*command, "--out", str(broken)]) == 0
    assert table_of(broken) == table_of(whole)
    for run in runs:
        assert (run / "metrics.jsonl").read_bytes() == (
            whole / "runs" / run.name / "metrics.jsonl"
        ).read_bytes()


def running(out: Path, *, more_than: int) -> list[Path]:
    """Runs that have gone some steps."""
    found = (out / "runs").iterdir() if (out / "runs").exists() else iter(())
    return [run for run in found if read_progress(run, 150).step > more_than]


def wait_until(true: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_worker_waits_for_its_predecessor(make_config: Make, tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", make_config())
    with run.lock():
        start = time.monotonic()
        wait_for(run.path, patience_seconds=0.3)
        assert time.monotonic() - start >= 0.3, "nobody let go"
    start = time.monotonic()
    wait_for(run.path, patience_seconds=30)
    wait_for(tmp_path / "nothing there", patience_seconds=30)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", -9, "killed by SIGKILL"),
        ("", 3, "ended with exit code 3"),
        ("Traceback\n  x\nValueError: bad\n\n", 1, "ValueError: bad"),
        ("a line\nngptlab: text:x: no such file\n", 2, "text:x: no such file"),
        ("note: warning: step 7: a spike\n", -9, "killed by SIGKILL"),
        ("note: gpt-s1: validation loss 3.1\n", -9, "killed by SIGKILL"),
    ],
)
def test_last_words(tmp_path: Path, text: str, code: int, words: str) -> None:
    log = tmp_path / "log"
    log.write_text(text)
    assert last_words(log, code) == words


def test_warnings_of_a_run_are_told(
    make_config: Callable[..., RunConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the study, because nobody reads a worker's notes."""
    log = tmp_path / "log"
    log.write_text("note: 3 runs\nnote: warning: step 7: a spike\n")
    assert warnings(log) == "warning: step 7: a spike"
    log.write_text(log.read_text() + "note: warning: step 9: another\n")
    assert warnings(log) == f"2 warnings in {log}, the last: step 9: another"
    log.write_text("note: nothing\nngptlab: no such file\n")
    assert warnings(log) == ""
    log.write_text("note: a: warning: of a\nnote: b: nothing\nnote: warning: of all\n")
    assert warnings(log, "a") == f"2 warnings in {log}, the last: of all"
    assert warnings(log, "b") == "warning: of all"
    # Each loss is taken for a spike.
    config = make_config(train={"steps": 3}, seed=5)
    spiking = (
        "from ngptlab.train.spikes import Recent\nRecent.high_loss = lambda self, loss: 'loss of a spike'\n"
    )
    (tmp_path / "sitecustomize.py").write_text(spiking)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    cells, local = [Cell(config)], Local()
    with studying(cells, tmp_path / "out", executor=local) as request:
        assert local.train(cells, tmp_path / "out", request) == {}
    assert (
        "3 warnings in" in (told := " ".join(capsys.readouterr().err.split())) and "loss of a spike" in told
    )


def test_a_warning_is_told_once(make_config: Make, tmp_path: Path, capsys: Captured) -> None:
    """With the cell, where it is the only one. Of several, the others would be lost with it."""
    cell, log = Cell(make_config()), tmp_path / "log"
    ended, board = Outcome(status="done", reason="it learned nothing"), Board([cell])
    tell_warnings(cell, tmp_path / "none", ended, board)
    log.write_text("note: warning: it learned nothing\n")
    tell_warnings(cell, log, ended, board)
    assert capsys.readouterr().err == ""
    log.write_text("note: warning: step 7: a spike\nnote: warning: it learned nothing\n")
    tell_warnings(cell, log, ended, board)
    assert "2 warnings in" in capsys.readouterr().err


def test_progress_is_read_from_the_end_of_files(tmp_path: Path) -> None:
    assert read_progress(tmp_path, 9) == Progress(step=0, steps=9)
    lines = [f'{{"step": {n}, "loss_nats": {n}.5, "padding": "{"x" * 90}"}}\n' for n in range(1, 101)]
    (tmp_path / "metrics.jsonl").write_text("".join(lines) + '{"step": 101, "lo')
    (tmp_path / "timing.jsonl").write_text('{"step": 1, "step_seconds": 1}\n{"step": 2, "step_seconds": 2}\n')
    assert read_progress(tmp_path, 200) == Progress(step=100, steps=200, loss_nats=100.5, step_seconds=1.5)
    # Batches that made no update have no line of metrics.
    (tmp_path / "timing.jsonl").write_text(
        '{"step": 101, "step_seconds": 1}\n{"step": 102, "step_seconds": 2}\n'
    )
    assert read_progress(tmp_path, 200).step == 102


def test_eta_scales_what_was_not_timed_by_width() -> None:
    cells = [(32, Progress(5, 10, None, 1.0)), (32, Progress(0, 10)), (64, Progress(0, 10))]
    assert eta_seconds(cells, 1) == pytest.approx(5 * 1 + 10 * 1 + 10 * 2)
    assert eta_seconds(cells, 2) == pytest.approx(35 / 2)
    assert eta_seconds(cells[1:], 1) is None


@pytest.mark.parametrize("terminal", [True, False])
def test_the_board(make_config: Make, terminal: bool) -> None:
    """A table on a terminal, lines elsewhere; both say what each cell is at."""
    cells = [Cell(make_config(seed=seed)) for seed in range(3)]
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=terminal, width=120, height=40, no_color=False, highlight=False
    )
    with Board(cells, console) as board:
        board.set(cells[0], "running", Progress(3, 8, 2.5, 10.0))
        board.set(cells[1], "failed", Progress(1, 8, 4.0, 10.0), "killed by SIGKILL")
        board.refresh(1)
    text = file.getvalue()
    assert "3 cells:" in text and "1 failed" in text and "ETA 2:10" in text  # 5 steps and 8 steps of 10 s
    assert "gpt sp width 16" in text and "seed 1" in text
    assert (
        ("3/8" in text and "2.500" in text)
        if terminal
        else ("failed" in text and "killed by SIGKILL" in text)
    )


def test_wrong_use_starts_nothing(tiny: list[str], tmp_path: Path, capsys: Captured) -> None:
    """Wrong settings are found before any process starts."""
    out = tmp_path / "out"
    for wrong, message in [
        (["--widths", "20"], "--widths: given 20"),
        (["--optim.lr", "0.1"], "sweep sets it; give --lrs"),
        (["--lrs", "fast"], "--lrs: given 'fast'"),
        (["--params", "mop"], "invalid choice"),
        (["--data.source", "text:nowhere"], "nowhere"),
        (["--workers", "-1"], "--workers: given -1"),
    ]:
        assert main(["sweep", "mup-bytes-small", *tiny, *GRID, "--out", str(out), *wrong]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1, err
        assert not out.exists()


@pytest.mark.parametrize(
    "line", ["5", '{"step": "x", "loss_nats": 1}', '{"step": 1}', '"\udc80"', "[" * 3000]
)
def test_progress_of_damaged_files_is_unknown(tmp_path: Path, line: str) -> None:
    """The sweep goes on; the worker that opens the run says what is wrong with it."""
    for stream in ("metrics", "timing"):
        (tmp_path / f"{stream}.jsonl").write_bytes(line.encode("utf-8", "surrogateescape") + b"\n")
    assert read_progress(tmp_path, 9) == Progress(step=0, steps=9)
