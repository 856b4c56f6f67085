"""--profile: a trace and a table of the right steps, the same numbers, one-line errors."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from made_runs import ending
from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.experiment import train
from ngptlab.runs import Run
from ngptlab.train.profile import STEP, TOP, StepProfiler
from ngptlab.train.progress import Silent
from ngptlab.train.stop import Stopped

MakeConfig = Callable[..., RunConfig]
Outcome = Callable[[Path], dict[str, bytes]]


class Listener(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def traced_steps(run: Path) -> int:
    events = json.loads((run / "profile" / "trace.json").read_text())["traceEvents"]
    assert any(event.get("name", "").startswith("aten::") for event in events)
    return sum(event.get("name") == STEP and event.get("ph") == "X" for event in events)


def test_same_numbers_and_a_profile(make_config: MakeConfig, outcome: Outcome, tmp_path: Path) -> None:
    plain = train(make_config(), tmp_path / "plain")
    told = Listener()
    run = train(make_config(), tmp_path / "profiled", reporter=told, profile_steps=2)
    assert outcome(run.path) == outcome(plain.path)
    assert run.config.hash == plain.config.hash and ending(run) == ending(plain)
    assert traced_steps(run.path) == 2
    table = (run.path / "profile" / "top.txt").read_text()
    heading, *rows = table.splitlines()
    assert heading.split()[-1] == "operation" and len(rows) == TOP
    times = [float(row.split()[0]) for row in rows]
    assert times == sorted(times, reverse=True) and times[0] > 0
    (step,) = (row for row in rows if row.endswith(STEP))
    assert step.split()[2] == "1", "calls are per step"
    (note,) = (note for note in told.notes if note.startswith("profile of"))
    first, *shown = note.splitlines()
    assert first == f"profile of 2 steps in {run.path / 'profile'}"
    assert shown == table.splitlines()[:12]


@pytest.mark.parametrize(
    ("start", "steps", "count", "profiled"),
    [
        (0, 100, 5, [3, 4, 5, 6, 7]),
        (40, 100, 2, [43, 44]),
        (0, 8, 5, [3, 4, 5, 6, 7]),
        (0, 6, 5, [1, 2, 3, 4, 5]),
        (0, 5, 5, [0, 1, 2, 3, 4]),
        (0, 3, 5, [0, 1, 2]),
        (7, 8, 5, [7]),
    ],
)
def test_which_steps(
    start: int,
    steps: int,
    count: int,
    profiled: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three of warm-up, fewer where the run has no room for them."""
    running: list[int] = []
    with StepProfiler(tmp_path / "profile", count, steps=steps, on_cuda=False, tell=print) as profiler:
        monkeypatch.setattr(profiler, "_start", lambda: setattr(profiler, "_profile", object()))
        monkeypatch.setattr(profiler, "_finish", lambda: setattr(profiler, "_profile", None))
        for step in range(start, steps):
            with profiler(step):
                if profiler._profile:
                    running.append(step)
        assert profiler._profile is None, "over with its last step, before what comes after the run's last"
    assert running == profiled


def test_a_stopped_run_has_the_profile_of_its_steps(make_config: MakeConfig, tmp_path: Path) -> None:
    class Stop(Listener):
        def step(self, step: int, **facts: Any) -> None:
            if step == 5:
                os.kill(os.getpid(), 15)

    told = Stop()
    with pytest.raises(Stopped):
        train(make_config(), tmp_path / "run", reporter=told, profile_steps=5)
    assert traced_steps(tmp_path / "run") == 2, "steps 4 and 5"
    assert train(make_config(), tmp_path / "run", profile_steps=1).done
    assert traced_steps(tmp_path / "run") == 1


def test_no_step_left(make_config: MakeConfig, tmp_path: Path) -> None:
    """A finished run can't be profiled; one that lacks its last evaluation only says so."""
    run = train(make_config(), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"already done.*--out"):
        train(make_config(), run.path, profile_steps=5)
    assert not (run.path / "profile").exists()
    (run.path / "summary.json").unlink()
    told = Listener()
    assert train(make_config(), run.path, reporter=told, profile_steps=5).done
    assert any("no update was profiled" in note for note in told.notes)


def test_folder_that_cannot_be_written(make_config: MakeConfig, tmp_path: Path) -> None:
    config, out = make_config(), tmp_path / "run"
    Run.open(out, config)
    (out / "profile").write_text("in the way")
    with pytest.raises(CheckpointError, match=r"profile: can't be written .*leave out --profile") as caught:
        train(config, out, profile_steps=5)
    assert "\n" not in str(caught.value)
    assert not (out / "metrics.jsonl").exists(), "known before the first step"


def test_trace_that_stays_empty(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's writer tells a failure to its log only."""
    monkeypatch.setattr("torch.profiler.profile.export_chrome_trace", lambda self, path: None)
    with pytest.raises(CheckpointError, match=r"trace.json stayed empty"):
        train(make_config(), tmp_path / "run", profile_steps=2)


def test_command_line(tiny: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(["train", "demo", *tiny, "--out", str(out), "--profile"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(out), "the path stays all of stdout"
    assert f"profile of 5 steps in {out / 'profile'}" in said.err and "aten::" in said.err
    assert traced_steps(out) == 5
    for wrong in ("0", "-1", "x", "1.5"):
        assert main(["train", "demo", *tiny, "--out", str(tmp_path / "other"), f"--profile={wrong}"]) == 2
        said = capsys.readouterr()
        assert said.err.count("\n") == 1 and f"given '{wrong}'" in said.err
    assert not (tmp_path / "other").exists()
