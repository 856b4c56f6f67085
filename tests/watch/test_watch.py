"""`ngptlab watch`: states of runs from their files, cheaply, and a terminal left as it was found."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from made_runs import MakeRun, config_of, val
from ngptlab import disk
from ngptlab.cli import main
from ngptlab.runs import Run
from ngptlab.watch import state
from ngptlab.watch.table import render, sparkline
from ngptlab.watch.watch import Watch


def begun(path: Path, steps: int = 5, *, method: str = "gpt", lock: bool = True, **changes: Any) -> Run:
    """A run of 100 steps in which so many are recorded, each of 0.5 seconds and 128 tokens."""
    run = Run.open(path, config_of(method, **{"steps": 100, **changes}))
    if lock:
        (path / ".lock").touch()
    for step in range(1, steps + 1):
        run.append("metrics", {"step": step, "loss_nats": 5.0 - 0.01 * step})
        run.append("timing", {"step": step, "step_seconds": 0.5})
    return run


def shown(folder: Path, *, width: int = 150, height: int = 50) -> list[str]:
    """The lines of one view."""
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    watching = Watch(folder)
    console.print(render(watching.look(), folder, watching.unreadable, console))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_line_has_the_runs_numbers(tmp_path: Path) -> None:
    run = begun(tmp_path / "runs" / "one", 20)
    run.append("evals", val(10, 4.5, 0.1, 1.0))
    run.append("evals", {"step": 20, "eval": "length", "bins": []})
    with run.lock():
        lines = shown(tmp_path)
        # 80 steps left of half a second each: 40 seconds; 128 tokens in half a second.
        numbers = "running 20/100 4.800 ██▇▇▇▆▆▅▅▅▄▄▄▃▃▂▂▂▁▁ 4.500 256 0:40"
        assert " ".join(lines[2].split()) == f"one gpt 0 {numbers}"
        assert shown(run.path)[2].startswith("one ")  # the run's own folder, too


def test_the_pace_of_a_stacked_run_is_its_share_of_the_steps(tmp_path: Path) -> None:
    run = begun(tmp_path / "one", 20)
    (run.path / "env.json").write_text('{"stacked": 3}')
    with run.lock():
        (view,) = Watch(tmp_path).look()
    assert view.eta_seconds == 80 * 0.5 * 3 and view.tokens_per_second == 256


def test_the_pace_of_growing_batches_is_that_of_their_sequences(tmp_path: Path) -> None:
    """64 tokens in each of 20 steps of half a second; 30 steps of 64 and 50 of 192 tokens are left."""
    run = begun(tmp_path / "one", 20, train={"steps": 100, "batch_stages": (0.5, 1.5)})
    with run.lock():
        (view,) = Watch(tmp_path).look()
    assert view.tokens_per_second == 128 and view.eta_seconds == (30 * 64 + 50 * 192) / 128


def test_batches_without_an_update_are_steps(tmp_path: Path) -> None:
    """They have no line of metrics, and a run that goes back to a checkpoint takes lines back."""
    run = begun(tmp_path / "one", 5)
    watching = Watch(tmp_path)
    assert watching.look()[0].step == 5
    run.append("timing", {"step": 6, "step_seconds": 0.5})
    assert watching.look()[0].step == 6
    run.rewind({"metrics": run.content("metrics").index(b"\n") + 1, "timing": len(run.content("timing"))})
    assert watching.look()[0].step == 6
    run.rewind({})
    assert watching.look()[0].step == 0


def test_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path / "waiting", lock=False)
    begun(tmp_path / "stopped").finish("stopped", reason="stopped by SIGINT", step=5)
    begun(tmp_path / "failed").finish("failed", error="DataError", reason="no text")
    begun(tmp_path / "diverged").finish("failed", error="DivergedError", reason="step 6: loss nan")
    begun(tmp_path / "done", 100).finish("done", step=100)
    old, held, young = (begun(tmp_path / name) for name in ("killed", "evaluating", "elsewhere"))
    for run in (old, held):
        for path in run.path.iterdir():
            os.utime(path, (1, 1))
    (young.path / "metrics.jsonl").touch()

    def states() -> dict[str, str]:
        return {view.path.name: view.state for view in Watch(tmp_path).look()}

    with held.lock():
        os.utime(held.path / ".lock", (1, 1))
        seen = states()
        assert seen == {
            "waiting": "waiting",
            "stopped": "stopped",
            "failed": "failed",
            "diverged": "diverged",
            "done": "done",
            "killed": "stale",
            "evaluating": "running" if state.LOCKS.exists() else "stale",
            "elsewhere": "running",
        }
        monkeypatch.setattr(state, "LOCKS", tmp_path / "no such list")
        assert states() == {**seen, "evaluating": "stale"}
    reasons = {view.path.name: view.reason for view in Watch(tmp_path).look()}
    assert reasons["failed"] == "no text" and reasons["done"] == ""


def test_looking_takes_no_lock_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(tmp_path / "one")
    before = {path: path.stat().st_mtime_ns for path in [run.path, *run.path.iterdir()]}
    import fcntl

    def taken(*arguments: object) -> None:
        raise AssertionError("a spectator asked for a lock")

    monkeypatch.setattr(fcntl, "flock", taken)
    Watch(tmp_path).look()
    assert {path: path.stat().st_mtime_ns for path in [run.path, *run.path.iterdir()]} == before


def test_a_long_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in bytes: at most 64 KiB at the first look, then what is new and some bytes to know the place by."""
    run = begun(tmp_path / "one", 1)
    record = {"step": 1, "loss_nats": 1.0, "note": "x" * 1000}
    with (run.path / "metrics.jsonl").open("w") as file:
        file.writelines(json.dumps(record) + "\n" for _ in range(20_000))  # 20 MB
    read: list[int] = []

    class Counted(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            got = super().read(-1 if size is None else size) or b""
            read.append(len(got))
            return got

    true_open = disk.open_regular

    def counting(path: Path) -> Any:
        return Counted(path) if path.name == "metrics.jsonl" else true_open(path)

    monkeypatch.setattr(disk, "open_regular", counting)
    watching = Watch(tmp_path)
    watching.look()
    assert 0 < sum(read) <= 64 * 1024
    read.clear()
    watching.look()
    assert sum(read) <= 64
    run.append("metrics", {"step": 2, "loss_nats": 1.5})
    read.clear()
    (view,) = watching.look()
    assert view.step == 2 and view.losses[-1] == 1.5 and sum(read) < 200


def test_runs_come_go_and_begin_again(tmp_path: Path) -> None:
    watching = Watch(tmp_path)
    assert watching.look() == []
    run = begun(tmp_path / "runs" / "one")
    begun(tmp_path / "runs" / "two")
    assert [view.step for view in watching.look()] == [5, 5]
    streams = {stream: run.content(stream).splitlines(keepends=True) for stream in ("metrics", "timing")}
    run.rewind({stream: len(b"".join(lines[:3])) for stream, lines in streams.items()})  # a resume
    (one, _) = watching.look()
    assert one.step == 3 and len(one.losses) == 3
    for path in (run.path / "metrics.jsonl", run.path / "timing.jsonl"):
        path.unlink()
    assert watching.look()[0].step == 0 and watching.look()[0].tokens_per_second is None
    for path in run.path.iterdir():
        path.unlink()
    run.path.rmdir()
    assert [view.path.name for view in watching.look()] == ["two"]
    begun(run.path, 1, method="ngpt")
    assert [(view.path.name, view.arm) for view in watching.look()] == [("one", "ngpt"), ("two", "gpt")]


def test_what_is_no_run_is_counted_and_harmless(tmp_path: Path) -> None:
    begun(tmp_path / "one")
    for name, text in (("model", '{"model_type": "llama"}'), ("half", '{"name": "x'), ("empty", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    (tmp_path / ".tmp-fork").mkdir()
    (tmp_path / ".tmp-fork" / "config.json").write_text("{}")
    (tmp_path / "loop").symlink_to(tmp_path)
    lines = shown(tmp_path)
    assert lines[0].startswith("1 run, 1 ") and lines[-1] == "3 with a config.json that is no run's"


@pytest.mark.parametrize(
    "damage", ["[1]\n", '{"step": "x", "loss_nats": null}\n', '{"loss_nats": NaN}\n', '{"a', ""]
)
def test_damaged_files_stop_nobody(tmp_path: Path, damage: str) -> None:
    run = begun(tmp_path / "one")
    for name in ("metrics.jsonl", "timing.jsonl", "evals.jsonl", "summary.json", "env.json"):
        (run.path / name).write_text(damage)
    (view,) = Watch(tmp_path).look()
    assert (view.state, view.step, view.losses) == ("running", 0, ())
    assert shown(tmp_path)


def test_running_first_and_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    for number in range(100):
        run = begun(tmp_path / "runs" / f"{number:03d}", 1)
        if number < 97:
            run.finish("done", step=100)
    lines = shown(tmp_path, height=24)
    assert lines[0].startswith("100 runs, 3 running, 97 done, in ")
    assert [line.split()[0] for line in lines[2:6]] == ["097", "098", "099", "000"]
    assert lines[-1] == "and 81 more: 81 done" and len(lines) <= 23


@pytest.mark.parametrize("width", [40, 60, 80, 110, 150])
def test_at_every_width_a_run_has_one_line(tmp_path: Path, width: int) -> None:
    begun(tmp_path / "a-study-with-a-long-name" / "runs" / "demo-gpt+ngpt.norm.residual-s0-0123abcd", 30)
    lines = shown(tmp_path, width=width)
    assert len(lines) == 3 and all(cell_len(line) <= width for line in lines)
    if width >= 60:
        assert "30/100" in lines[2] and "4.700" in lines[2] and "23abcd" in lines[2]


def test_hostile_names_are_text(tmp_path: Path) -> None:
    begun(tmp_path / "[red]a[/red]\x1b[2J\nb\x07")
    begun(tmp_path / os.fsdecode(b"bad-\xff"))
    text = "\n".join(shown(tmp_path))
    assert "[red]a[/red]\\x1b[2J\\nb\\x07" in text and "\x1b" not in text and "bad-\\udcff" in text


def test_sparkline() -> None:
    assert sparkline([]) == "" and sparkline([3.0]) == "▁" and sparkline([2.0, 2.0]) == "▁▁"
    assert sparkline([0.0, 7.0, 1.0]) == "▁█▂"
    # Means of shares: one outlier among a hundred counts a fifth of a share's mean.
    assert sparkline([1.0] * 50 + [2.0] * 50, width=4) == "▁▁██"
    assert len(sparkline([float(i) for i in range(333)])) == 20


def test_without_a_terminal_it_is_shown_once(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("gpt", {0: 5.0, 10: 4.0})
    assert main(["watch", str(tmp_path)]) == 0
    assert "1 done" in capsys.readouterr().out
    assert main(["watch", str(tmp_path / "runs"), "--once"]) == 0
    assert main(["watch", str(tmp_path / "nowhere")]) == 2
    assert main(["watch", str(tmp_path), "--every", "0"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_it_refreshes_and_ctrl_c_leaves_the_terminal_sane(tmp_path: Path) -> None:
    run = begun(tmp_path / "one", 3)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ngptlab", "watch", str(tmp_path), "--every", "0.05"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "20"},
    )
    os.close(follower)
    said = b""

    def until(word: bytes) -> None:
        nonlocal said
        end = time.monotonic() + 60
        while word not in said and time.monotonic() < end:
            if select.select([leader], [], [], 0.1)[0]:
                try:
                    said += os.read(leader, 65536)
                except OSError:
                    break
        assert word in said, said

    until(b"3/100")
    run.append("metrics", {"step": 4, "loss_nats": 4.0})
    until(b"4/100")
    said = b""
    process.send_signal(signal.SIGINT)
    until(b"\x1b[?25h")  # the cursor is shown again
    assert process.wait(60) == 0
    os.close(leader)
    assert b"Traceback" not in said
