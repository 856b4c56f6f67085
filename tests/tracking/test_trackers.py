"""Training told to each tracker, read back from the tracker's own files: every line once, across a stop and a resume."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from ngptlab.config import RunConfig
from ngptlab.experiment import train
from ngptlab.runs import Run
from ngptlab.tracking.steps import numbers
from ngptlab.train.progress import Silent
from ngptlab.train.speed import Speed
from ngptlab.train.stop import Stopped

pytestmark = pytest.mark.extra

Rows = dict[int, list[dict[str, float]]]


class StopAt(Silent):
    """Sends this process SIGTERM after a step."""

    def __init__(self, at: int) -> None:
        self.at, self.lines = at, []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def step(self, step: int, *, loss_nats: float, lr: float, speed: Speed, eta_seconds: float) -> None:
        if step == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


def tensorboard_rows(run: Run) -> Rows:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    rows: Rows = defaultdict(list)
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            rows[event.step].append({tag: event.value})
    assert b"hash" in events.Tensors("config")[0].tensor_proto.string_val[0]
    assert len(events.Tensors("config")) == 1
    assert b'"done"' in events.Tensors("summary")[-1].tensor_proto.string_val[0]
    return rows


def trackio_rows(run: Run) -> Rows:
    (database,) = Path(os.environ["TRACKIO_DIR"]).glob("*.db")
    rows: Rows = defaultdict(list)
    with sqlite3.connect(database) as connection:
        for step, text in connection.execute("select step, metrics from metrics order by id"):
            rows[step].append({k: v for k, v in json.loads(text).items() if not k.startswith("summary/")})
        ((config,),) = connection.execute("select config from configs")
    connection.close()
    kept = json.loads(config)
    assert kept["hash"] == run.config.hash and kept["tags"] == ["ngpt", "seed 0"] and kept["_Group"] == "tiny"
    return rows


def records(path: Path) -> Iterator[bytes]:
    """Records of a .wandb file: LevelDB's log, in blocks of 32 KiB, behind seven bytes of head."""
    data, place, parts = path.read_bytes(), 7, []
    while place + 7 <= len(data):
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts.append(data[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield b"".join(parts)
            parts = []


def wandb_rows(run: Run) -> Rows:
    from wandb.proto.wandb_internal_pb2 import Record

    rows: Rows = defaultdict(list)
    begun = []
    for path in sorted((run.path / "wandb").glob("offline-run-*/*.wandb")):
        for text in records(path):
            record = Record.FromString(text)
            if record.HasField("run"):
                begun.append(record.run)
            if record.HasField("history"):
                items = {
                    "/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item
                }
                rows[record.history.step.num].append(
                    {k: v for k, v in items.items() if not k.startswith("_")}
                )
    assert len({about.run_id for about in begun}) == 1 and begun[0].run_id.startswith(run.config.hash)
    assert begun[0].run_group == "tiny" and list(begun[0].tags) == ["ngpt", "seed 0"]
    assert begun[0].display_name == run.path.name
    return rows


READERS: dict[str, Callable[[Run], Rows]] = {
    "tensorboard": tensorboard_rows,
    "trackio": trackio_rows,
    "wandb": wandb_rows,
}


@pytest.fixture(params=READERS)
def tracker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each tracker, kept to this machine."""
    try:
        metadata.version(request.param)
    except metadata.PackageNotFoundError:
        pytest.skip(f"the extra `{request.param}` is not installed")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    return str(request.param)


def expected(run: Run) -> dict[int, dict[str, float]]:
    """All numbers of the run's streams, by step."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for stream in ("metrics", "timing", "evals", "scales"):
        for line in run.read(stream):
            found[line["step"]].update(numbers(stream, line))
    return found


def compare(rows: Rows, run: Run, tracker: str) -> None:
    """Every number once. TensorBoard keeps float32; times of steps that a resume did again are those of the first time."""
    exact = 0.0 if tracker != "tensorboard" else 2.0**-24
    wanted = expected(run)
    assert sorted(rows) == sorted(wanted)
    for step, parts in rows.items():
        merged = {name: value for part in parts for name, value in part.items()}
        assert sum(map(len, parts)) == len(merged), f"step {step}: a number came twice"
        assert merged.keys() == wanted[step].keys()
        for name, value in merged.items():
            if not name.startswith("timing/"):
                assert value == pytest.approx(wanted[step][name], rel=exact, abs=0), (step, name)


def test_each_line_once_across_a_resume(
    tracker: str, tmp_path: Path, make_config: Callable[..., RunConfig], outcome: Any
) -> None:
    plain = train(make_config("ngpt"), tmp_path / "plain")
    config, path = make_config("ngpt", track=tracker), tmp_path / "tracked"
    stopping = StopAt(4)
    with pytest.raises(Stopped):
        train(config, path, reporter=stopping)
    # A kill: the last lines go, the checkpoint of step 3 stays, the tracker has them already.
    for checkpoint in (path / "checkpoints").glob("step_*4"):
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    again = StopAt(-1)
    run = train(config, path, reporter=again)
    told = [line for line in stopping.lines + again.lines if tracker in line]
    assert told == [], (path / "tracking.log").read_text()
    assert outcome(path) == outcome(plain.path)
    compare(READERS[tracker](run), run, tracker)


def test_a_finished_run_is_handed_on_once(
    tracker: str, tmp_path: Path, make_config: Callable[..., RunConfig], capfd: pytest.CaptureFixture[str]
) -> None:
    run = train(make_config("ngpt"), tmp_path / "run")
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "ngptlab", "track", str(run.path), "--to", tracker], timeout=200
        )
        assert done.returncode == 0
    assert capfd.readouterr().out.count("up to step 8") == 2
    compare(READERS[tracker](run), run, tracker)
