"""What a task does on its node, without a cluster and without a process: where it trains, what it refuses, what it sends back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pretended import Handle

from ngptlab import config as configs
from ngptlab.config import RunConfig
from ngptlab.data.corpus import open_data
from ngptlab.errors import LabError, WorldError
from ngptlab.experiment import train
from ngptlab.jobs import on_node, travel
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.desk import Desk
from ngptlab.jobs.on_node import TOKEN, train_cell, versions
from ngptlab.jobs.travel import pack, unpack
from ngptlab.jobs.worker_process import Worker
from ngptlab.runs import Run

Make = Callable[..., RunConfig]
TIMES = ("timing.jsonl", "env.json", "summary.json", "manifest.json")
"""Files that have times, or digests of those."""


class Process:
    """A worker's process that has ended, or ends when it is asked to."""

    def __init__(self, code: int | None) -> None:
        self.returncode, self.signals = code, list[int]()
        self.stdin = SimpleNamespace(close=lambda: None)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, seconds: float | None = None) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        self.returncode = 128 + number


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, dict[str, str]]]:
    """Workers that were started, which train in this process: their folder and environment."""
    found: list[tuple[Path, dict[str, str]]] = []

    def start(cells: tuple[Cell, ...], out: Path, threads: int, environment: dict[str, str]) -> Worker:
        (cell,) = cells
        found.append((out, environment))
        (out / "logs").mkdir(exist_ok=True)
        log, said, code = out / "logs" / "log", "", 0
        try:
            train(cell.config, run_of(out, cell))
        except LabError as error:
            said, code = f"ngptlab: {error}\n", 2
        log.write_text(f"a note\n{said}")
        return Worker(cells, Process(code), log, 0.0)  # type: ignore[arg-type]

    monkeypatch.setattr(on_node, "start", start)
    monkeypatch.setattr(on_node, "asked", lambda value: value)
    return found


def job_of(of: RunConfig, out: Path, **other: Any) -> dict[str, Any]:
    return {
        "key": of.hash,
        "name": of.run_name,
        "config": configs.dump(of),
        "methods": {},
        "environment": {"A": "b"},
        "threads": 1,
        "out": str(out),
        "token": "t" * 32,
        "cwd": os.getcwd(),
        "digest": open_data(of).digest,
        "size": 0,
        "versions": versions(),
        **other,
    }


def alike(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.split("/")[-1] not in TIMES}


def test_in_the_shared_folder(started: list[Any], make_config: Make, tmp_path: Path) -> None:
    config, out = make_config(), tmp_path / "out"
    out.mkdir()
    (out / TOKEN).write_text("t" * 32)
    result = train_cell(job_of(config, out), Handle(Desk(str(out / "runs"))))
    assert result == {"said": "a note", "code": 0, "over": True, "files": None, "log": None}
    assert started == [(out, {"A": "b"})] and Run(run_of(out, Cell(config))).done


@pytest.mark.parametrize("token", [None, "", "u" * 32, "t" * 33, "t"])
def test_elsewhere_it_travels(
    token: str | None, started: list[Any], make_config: Make, tmp_path: Path
) -> None:
    """The file of another study, or none, is no proof that the folder is the driver's."""
    config, out = make_config(), tmp_path / "out"
    out.mkdir()
    if token is not None:
        (out / TOKEN).write_text(token)
    desk = Desk(str(out / "runs"))
    result = train_cell(job_of(config, out), Handle(desk))
    assert (result["code"], result["over"], result["log"]) == (0, True, "a note\n")
    ((place, _),) = started
    assert place != out and not place.exists() and not (out / "runs").exists()
    train(config, tmp_path / "here")
    assert alike(result["files"]) == alike(pack(tmp_path / "here"))
    assert desk.look() == {config.hash: {"tries": 1, "node": os.uname().nodename}}


def test_what_is_too_large_comes_back_without_older_checkpoints(
    started: list[Any], make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(train={"steps": 4}, checkpoint={"every": 2})
    run = train(config, tmp_path / "here")
    whole = pack(run.path)
    size = sum(map(len, whole.values()))
    older = {name for name in whole if name.startswith("checkpoints/step_000002/")}
    monkeypatch.setattr(travel, "MOST_BYTES", size - 1000)
    result = train_cell(job_of(config, tmp_path / "out"), Handle(Desk(str(tmp_path / "out" / "runs"))))
    assert older and set(result["files"]) == set(whole) - older and result["over"]
    assert "note: warning: too large to travel whole; 1 of its older checkpoints" in result["log"]
    monkeypatch.setattr(travel, "MOST_BYTES", 1000)
    result = train_cell(job_of(config, tmp_path / "out"), Handle(Desk(str(tmp_path / "out" / "runs"))))
    assert "give an --out that all of them share" in result["said"] and result["files"] is None


def test_a_shared_folder_takes_runs_of_any_size(
    started: list[Any], make_config: Make, tmp_path: Path
) -> None:
    (tmp_path / TOKEN).write_text("t" * 32)
    job = job_of(make_config(), tmp_path, size=travel.MOST_BYTES + 1)
    assert train_cell(job, Handle(Desk(str(tmp_path / "runs"))))["over"]


def test_an_empty_token_is_none(started: list[Any], make_config: Make, tmp_path: Path) -> None:
    config = make_config()
    (tmp_path / TOKEN).write_text("")
    assert train_cell(job_of(config, tmp_path, token=""), Handle(Desk(str(tmp_path / "runs"))))["files"]


def test_it_goes_on_from_what_the_driver_has(
    started: list[Any], make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = make_config(), tmp_path / "out"
    train(config, run_of(out, Cell(config)))
    before = pack(run_of(out, Cell(config)))
    result = train_cell(job_of(config, out), Handle(Desk(str(out / "runs"))))
    assert result["files"] == before, "with its times: nothing was trained again"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"versions": {"ngptlab": "9.9", "torch": versions()["torch"]}}, "the driver ngptlab 9.9"),
        ({"versions": {**versions(), "torch": "1.0"}}, "install the same versions everywhere"),
        ({"digest": "0" * 64}, "here and 00000000 where the study was started"),
        ({"size": travel.MOST_BYTES + 1}, "the run keeps take 8.59 GB, and at most 8.59 GB travel"),
        ({"config": "{}"}, "config"),
        ({"config": "no json"}, "config"),
    ],
)
def test_what_it_refuses(
    other: dict[str, Any], words: str, started: list[Any], make_config: Make, tmp_path: Path
) -> None:
    result = train_cell(job_of(make_config(), tmp_path, **other), Handle(Desk(str(tmp_path / "runs"))))
    assert words in result["said"] and result["said"].startswith(f"on {os.uname().nodename}: ")
    assert (result["code"], result["over"], result["files"]) == (None, False, None) and not started
    assert result["said"].isprintable()


def test_a_text_that_the_node_lacks(
    started: list[Any], make_config: Make, corpus: Path, tmp_path: Path
) -> None:
    job = job_of(make_config(), tmp_path)
    corpus.rename(tmp_path / "gone")
    said = train_cell(job, Handle(Desk(str(tmp_path / "runs"))))["said"]
    assert str(corpus) in said and not started


def test_a_run_that_is_too_large_to_come_here(started: list[Any], make_config: Make, tmp_path: Path) -> None:
    class Full(Desk):
        def folder(self, name: str) -> tuple[str, dict[str, bytes]]:
            return "9 files of 9 bytes", {}

    said = train_cell(job_of(make_config(), tmp_path), Handle(Full(str(tmp_path))))["said"]
    assert "what the run has so far can't be had (9 files of 9 bytes)" in said and not started


def test_hostile_files_from_the_driver(started: list[Any], make_config: Make, tmp_path: Path) -> None:
    class Hostile(Desk):
        def folder(self, name: str) -> tuple[str, dict[str, bytes]]:
            return "", {"../../x": b"x"}

    said = train_cell(job_of(make_config(), tmp_path), Handle(Hostile(str(tmp_path))))["said"]
    assert "'../../x', which is no file of a run" in said and not started


def test_what_brings_nodes_down_is_not_begun_for_ever(
    started: list[Any], make_config: Make, tmp_path: Path
) -> None:
    config, desk = make_config(), Desk(str(tmp_path))
    for _ in range(on_node.MOST_TRIES):
        assert not desk.begin(config.hash, "a node that is lost")["stop"]
    result = train_cell(job_of(config, tmp_path), Handle(desk))
    assert "its worker was lost 4 times" in result["said"] and not started


def test_stopped_before_it_begins(started: list[Any], make_config: Make, tmp_path: Path) -> None:
    config, desk = make_config(), Desk(str(tmp_path))
    assert desk.stop() == []
    assert train_cell(job_of(config, tmp_path), Handle(desk))["code"] is None
    assert not started and desk.look() == {}


@pytest.mark.parametrize("gone", [False, True])
def test_a_stop_has_the_worker_save(
    gone: bool, make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by the driver, or because there is none any more."""
    config, desk = make_config(), Desk(str(tmp_path / "runs"))
    cell, process = Cell(config), Process(None)

    def start(cells: tuple[Cell, ...], out: Path, threads: int, environment: object) -> Worker:
        log = out / "log"
        log.write_text("ngptlab: stopped by SIGTERM after step 3; saved\n")
        unpack({"config.json": configs.dump(config).encode()}, run_of(out, cell))
        if not gone:
            desk.stop()
        return Worker(cells, process, log, 0.0)  # type: ignore[arg-type]

    def asked(value: Any) -> Any:
        if gone and value is False:  # what `tell` returns while nobody stops
            raise WorldError("the study that this run is of has ended")
        return value

    monkeypatch.setattr(on_node, "start", start)
    monkeypatch.setattr(on_node, "asked", asked)
    monkeypatch.setattr(on_node, "TELL_SECONDS", 0.0)
    result = train_cell(job_of(config, tmp_path), Handle(desk))
    assert process.signals == [signal.SIGTERM] and result["code"] == 128 + signal.SIGTERM
    assert result["said"] == "stopped by SIGTERM after step 3; saved" and not result["over"]
    assert set(result["files"]) == {"config.json"} and result["log"].startswith("ngptlab: stopped")
    assert desk.look()[config.hash]["step"] == 0


def test_a_method_of_ones_own_goes_along(
    started: list[Any], make_config: Make, tmp_path: Path, work: Path
) -> None:
    """Its text, from which the node's folder gets a copy, as a run has one."""
    from ngptlab.method_files import copies, sources
    from ngptlab.methods import resolve

    (work / "mine.py").write_text("from ngptlab.methods.gpt import METHOD as M\n\nMETHOD = M\n")
    config = resolve(make_config().model_copy(update={"method": sources.given("./mine.py")}))
    job = job_of(config, tmp_path, methods=copies.texts_in(config))
    sources.forget()
    result = train_cell(job, Handle(Desk(str(tmp_path / "runs"))))
    assert result["over"], result
    assert f"methods/{config.method}.py" in result["files"]
    sources.forget()
