"""The driver of a Ray cluster, without one: what it hands out, what it keeps of what comes back, and how it says why."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pretended import Handle, PretendedRay, RayError

from ngptlab import config as configs
from ngptlab.config import RunConfig
from ngptlab.data.corpus import open_data
from ngptlab.device import NOT_KNOWN, RUNS_AT_ONCE
from ngptlab.errors import ConfigError
from ngptlab.experiment import train
from ngptlab.jobs import on_ray
from ngptlab.jobs.board import Board
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.desk import Desk
from ngptlab.jobs.local import SweepStopped
from ngptlab.jobs.on_ray import Ray, _OnNodes, reason_of
from ngptlab.jobs.outcome import outcome
from ngptlab.jobs.travel import pack
from ngptlab.method_files.running import TRUST
from ngptlab.runs import Run
from ngptlab.train.stop import StopRequest

Make = Callable[..., RunConfig]
Body = Callable[[dict[str, Any]], Any]


@pytest.fixture
def cells(make_config: Make) -> list[Cell]:
    return [Cell(make_config(seed=seed)) for seed in range(3)]


@pytest.fixture
def nodes(cells: list[Cell], tmp_path: Path) -> Callable[..., _OnNodes]:
    """Cells on a pretended cluster, whose tasks are a function."""

    def make(body: Body, how: Ray | None = None, **ray: Any) -> _OnNodes:
        out = tmp_path / "out"
        (out / "runs").mkdir(parents=True, exist_ok=True)
        desk = Handle(Desk(str(out / "runs")))
        return _OnNodes(PretendedRay(body, **ray), desk, cells, out, Board(cells), how or Ray(), "token")

    return make


def test_what_comes_back_is_kept(
    nodes: Any, cells: list[Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_key = {cell.config.hash: cell for cell in cells}

    def body(job: dict[str, Any]) -> dict[str, Any]:
        run = train(by_key[job["key"]].config, tmp_path / job["name"])
        return {
            "said": "",
            "code": 0,
            "over": True,
            "files": pack(run.path),
            "log": "note: warning: a spike\n",
        }

    there = nodes(body)
    assert there.train(cells, StopRequest()) == {}
    for cell in cells:
        assert Run(run_of(there.out, cell)).done
        assert pack(run_of(there.out, cell)) == pack(tmp_path / cell.config.run_name)
        assert (there.out / "logs" / f"{cell.config.run_name}.log").read_text() == "note: warning: a spike\n"
    assert capsys.readouterr().err.count(": warning: a spike\n") == len(cells)
    there.leave()
    assert there.ray.killed == [there.desk] and not there.ray.cancelled


def test_what_a_task_is_given(nodes: Any, cells: list[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain values; the digest of the data; and resources. Ray begins it again where it is lost, not where it fails."""
    monkeypatch.setenv(TRUST, "abc")
    given: list[dict[str, Any]] = []

    def body(job: dict[str, Any]) -> dict[str, Any]:
        given.append(job)
        return {"said": "no", "code": 2, "over": False}

    how = Ray(gpus_per_run=0.25, cpus_per_run=3)
    there = nodes(body, how)
    assert there.train(cells, StopRequest()) == {cell.config.hash: "no" for cell in cells}
    (options, *_) = there.ray.options_given
    assert (options["num_gpus"], options["num_cpus"]) == (0.25, 3)
    assert (options["max_retries"], options["retry_exceptions"]) == (3, False)
    job = given[0]
    assert (
        configs.dump(cells[0].config) == job["config"] and job["digest"] == open_data(cells[0].config).digest
    )
    assert (
        job["environment"] == {TRUST: "abc", RUNS_AT_ONCE: NOT_KNOWN}
        and job["threads"] == 3
        and job["cwd"] == os.getcwd()
    )
    assert Path(job["out"]).is_absolute() and job["token"] == "token"
    saved = train(cells[0].config, there.out / "elsewhere").path / "checkpoints"
    on_disk = sum(path.stat().st_size for path in saved.glob("step_*/*.safetensors"))
    assert 0.9 * on_disk < job["size"] <= on_disk, "files have names and lengths, too"
    plain = (str, int, dict, bytes)
    assert all(isinstance(value, plain) for value in job.values())


@pytest.mark.parametrize(
    ("kind", "has", "asked", "expected"),
    [
        ("cpu", 4.0, None, 0.0),
        ("auto", 4.0, None, 1.0),
        ("auto", 0.0, None, 0.0),
        ("cuda", 0.0, None, 1.0),
        ("auto", 4.0, 0.0, 0.0),
        ("cpu", 4.0, 2.0, 2.0),
    ],
)
def test_gpus_of_a_run(
    kind: str, has: float, asked: float | None, expected: float, nodes: Any, make_config: Make
) -> None:
    there = nodes(lambda job: None, Ray(gpus_per_run=asked), resources={"CPU": 4.0, "GPU": has})
    assert there._gpus(make_config(device={"kind": kind})) == expected


def test_no_node_has_room(nodes: Any, cells: list[Cell], capsys: pytest.CaptureFixture[str]) -> None:
    """A cluster that grows may have it later, so it is said and no error."""
    for cpus, words in (
        (4, "Ray: 1 node, 4 CPUs, 0 GPUs; a run takes 4 CPUs and 0 GPUs\n"),
        (5, "and 0 GPUs, which no node has"),
    ):
        there = nodes(lambda job: {"said": "no", "code": 2}, Ray(cpus_per_run=cpus))
        there.train(cells, StopRequest())
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"said": "text:x: no such file", "code": 2, "over": False}, "text:x: no such file"),
        ({"said": "killed by SIGKILL", "code": -9, "over": False}, "killed by SIGKILL"),
        ({"said": "on n1: has torch 1", "code": None, "over": False}, "on n1: has torch 1"),
        ({"said": "", "over": True, "files": {"../../escaped": b"x"}}, "'../../escaped', which is no file"),
        ({"said": "", "over": True, "files": ["config.json"]}, "as list, not as files"),
        (
            RayError("the node it was running on is dead\nmore\n"),
            "RayError: the node it was running on is dead",
        ),
    ],
)
def test_a_failure_is_told_and_the_others_go_on(
    result: Any, words: str, nodes: Any, cells: list[Cell], tmp_path: Path
) -> None:
    bad, *good = cells

    def body(job: dict[str, Any]) -> Any:
        if job["key"] == bad.config.hash:
            return result
        (cell,) = (each for each in good if each.config.hash == job["key"])
        run = train(cell.config, tmp_path / job["name"])
        return {"said": "", "code": 0, "over": True, "files": pack(run.path), "log": ""}

    there = nodes(body)
    failures = there.train(cells, StopRequest())
    assert set(failures) == {bad.config.hash} and words in failures[bad.config.hash]
    assert [outcome(cell, there.out).status for cell in cells] == ["waiting", "done", "done"]
    assert not list(tmp_path.rglob("escaped"))


def test_a_run_that_its_node_stopped_goes_on_elsewhere(nodes: Any, cells: list[Cell], tmp_path: Path) -> None:
    """A machine that is taken away sends its processes a signal. What was saved is kept, and goes along."""
    tries: list[bool] = []

    def body(job: dict[str, Any]) -> dict[str, Any]:
        tries.append((run_of(tmp_path / "out", cells[0]) / "half").exists())
        if len(tries) == 1:
            files = {"config.json": job["config"].encode(), "half": b"x"}
            return {
                "said": "stopped by SIGTERM; saved",
                "code": 128 + signal.SIGTERM,
                "files": files,
                "log": "",
            }
        run = train(cells[0].config, tmp_path / "whole")
        return {"said": "", "code": 0, "over": True, "files": pack(run.path), "log": ""}

    there = nodes(body)
    assert there.train(cells[:1], StopRequest()) == {} and tries == [False, True]
    assert Run(run_of(there.out, cells[0])).done


def test_a_stop_keeps_what_comes_back(nodes: Any, cells: list[Cell]) -> None:
    """Two cells are under way and come back once they are asked to. The third waits for room on a node, and is not waited for."""
    request = StopRequest()
    there: _OnNodes

    def body(job: dict[str, Any]) -> Any:
        if job["key"] == cells[2].config.hash:
            return None
        there.desk.begin.remote(job["key"], "a node")
        request.signal_number = signal.SIGINT
        files = {"config.json": job["config"].encode()}
        back = {"said": "saved", "code": 143, "over": False, "files": files, "log": ""}
        return lambda: back if there.desk.begin.remote("", "")["stop"] else None

    there = nodes(body)
    with pytest.raises(SweepStopped, match="stopped by SIGINT with 0 of 3 cells finished"):
        there.train(cells, request)
    for cell in cells[:2]:
        assert (run_of(there.out, cell) / "config.json").exists()
    there.leave()
    assert len(there.ray.cancelled) == 1 and not there.failures


def test_a_full_disk_is_one_cells_reason(
    nodes: Any, cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the end of the study: the others are kept."""
    whole = on_ray.unpack

    def unpack(files: Any, path: Path) -> None:
        if path == run_of(tmp_path / "out", cells[0]):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        whole(files, path)

    def body(job: dict[str, Any]) -> dict[str, Any]:
        (cell,) = (each for each in cells if each.config.hash == job["key"])
        run = train(cell.config, tmp_path / job["name"])
        return {"said": "", "code": 0, "over": True, "files": pack(run.path), "log": ""}

    monkeypatch.setattr(on_ray, "unpack", unpack)
    there = nodes(body)
    failures = there.train(cells, StopRequest())
    assert list(failures) == [cells[0].config.hash]
    assert "No space left on device" in failures[cells[0].config.hash]
    assert [outcome(cell, there.out).status for cell in cells] == ["waiting", "done", "done"]


@pytest.mark.parametrize("gone", ["look", "look and stop"])
def test_an_error_saves_what_is_under_way(gone: str, nodes: Any, cells: list[Cell]) -> None:
    """The desk is lost while two runs travel. They are asked to stop, or do so by themselves, and come back."""
    lost: list[int] = []
    there: _OnNodes

    def body(job: dict[str, Any]) -> Any:
        there.desk.begin.remote(job["key"], "a node")
        files = {"config.json": job["config"].encode()}
        back = {"said": "saved", "code": 143, "over": False, "files": files, "log": ""}
        return lambda: (
            back if len(lost) > 1 and ("stop" in gone or there.desk.begin.remote("", "")["stop"]) else None
        )

    there = nodes(body)
    whole = there.desk.look.remote

    def look() -> Any:
        lost.append(1)
        if len(lost) > 1:
            raise RayError("the desk is gone")
        return whole()

    there.desk._actor.look = look
    if "stop" in gone:
        there.desk._actor.stop = look
    with pytest.raises(RayError, match="the desk is gone"):
        there.train(cells[:2], StopRequest())
    for cell in cells[:2]:
        assert (run_of(there.out, cell) / "config.json").exists()
    assert not there.flying


def test_what_does_not_come_back_is_named(
    nodes: Any, cells: list[Cell], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(on_ray, "SAVE_SECONDS", 0.1)
    monkeypatch.setattr(on_ray, "TRAVEL_SECONDS", 0.2)
    there = nodes(lambda job: None)
    for cell in cells[:2]:
        there._begin(cell)
    there.desk.begin.remote(cells[0].config.hash, "a node")
    there._save_all()
    assert f"did not come back within 0 s: {cells[0].title}\n" in capsys.readouterr().err


def test_at_most_so_many_at_once(nodes: Any, cells: list[Cell]) -> None:
    most = 0

    def body(job: dict[str, Any]) -> dict[str, Any]:
        nonlocal most
        most = max(most, len(there.flying) + 1)
        return {"said": "no", "code": 2}

    for workers, expected in ((0, 3), (2, 2), (1, 1)):
        most, there = 0, nodes(body, Ray(workers=workers))
        there.train(cells, StopRequest())
        assert most == expected


def test_lost_workers_are_told(nodes: Any, cells: list[Cell], capsys: pytest.CaptureFixture[str]) -> None:
    there = nodes(lambda job: None)
    there._begin(cells[0])
    for node in ("n1", "n2"):
        there.desk.begin.remote(cells[0].config.hash, node)
        there._show()
    there._show()
    assert capsys.readouterr().err.count("its worker was lost; try 2 of 4, on n2") == 1


def test_data_that_this_machine_lacks(nodes: Any, make_config: Make) -> None:
    """Of one cell of a grid over sources: the others go on, and nothing of it is handed out."""
    lost = make_config(data={"source": "text:nowhere"})
    there = nodes(lambda job: pytest.fail("handed out"))
    there.board = Board([Cell(lost)])
    failures = there.train([Cell(lost)], StopRequest())
    assert "nowhere" in failures[lost.hash]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RayError("first\n\nlast"), "RayError: first"),
        (RayError(""), "RayError"),
        (
            type("RayTaskError(ValueError)", (RayError,), {})("Traceback\n  x\nValueError: bad\n"),
            "ValueError: bad",
        ),
        (RayError("x\nModuleNotFoundError: No module named 'ngptlab'\n"), "a node has no ngptlab"),
        (RayError("a\x1b[2Jb"), "RayError: a\\x1b[2Jb"),
    ],
)
def test_reasons_are_a_line(error: Exception, words: str) -> None:
    assert words in reason_of(error) and reason_of(error).isprintable()


def test_what_is_finished_asks_for_no_cluster(
    cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "joined", lambda address: pytest.fail("asked"))
    for cell in cells:
        train(cell.config, run_of(tmp_path, cell))
    refused = replace(cells[0], refusal="it can't be")
    assert Ray(quiet=True).train([*cells, refused], tmp_path, StopRequest()) == {}
    assert Ray().train([], tmp_path, StopRequest()) == {}


def test_numbers_and_addresses() -> None:
    for wrong in ({"workers": -1}, {"gpus_per_run": -0.5}, {"gpus_per_run": 1.25}, {"address": "ray://a:1"}):
        with pytest.raises(ConfigError, match="--"):
            Ray(**wrong)  # type: ignore[arg-type]
    Ray(gpus_per_run=0.25), Ray(gpus_per_run=0), Ray(gpus_per_run=8), Ray(address="host:6379")
