"""Cells on a real Ray cluster of several nodes on this machine: the bytes of `Local`, whatever happens to nodes and cells."""

from __future__ import annotations

import contextlib
import csv
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ngptlab.cli import main
from ngptlab.experiment import train
from ngptlab.jobs import on_ray
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.local import SweepStopped
from ngptlab.jobs.on_ray import Ray
from ngptlab.jobs.progress import read_progress
from ngptlab.runs import Run
from ngptlab.train.checkpoint import list_checkpoints
from ngptlab.train.stop import StopRequest
from tiny import tiny_config, write_texts

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.ray,
    # Its own sockets and files, as it leaves them.
    pytest.mark.filterwarnings("ignore"),
]
Captured = pytest.CaptureFixture[str]
RATES = [
    "--params",
    "sp",
    "--widths",
    "16",
    "--methods",
    "gpt",
    "--lrs",
    "2^-9",
    "2^-7",
    "1e30",
    "--stack",
    "off",
]
TIMES = (".lock", "env.json", "timing.jsonl", "manifest.json")
"""Files that have times, or digests of those."""
OTHER = 0.25
WILD = ["--schedule.warmup-steps", "0", "--schedule.shape", "constant"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes of one core each, with a cache of their own; this process is a driver on the first."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NGPTLAB_CACHE", str(tmp_path_factory.mktemp("nodes")))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        made.add_node(num_cpus=1)
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.fixture
def handlers_stay(cluster: Any) -> Iterator[None]:
    """Ray takes over SIGTERM where a driver starts, and where a test starts a node; a study must still be able to save."""
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.fixture
def make_cells(tmp_path: Path) -> Callable[..., list[Cell]]:
    texts = write_texts(tmp_path / "some_texts")

    def make(number: int, **train: int) -> list[Cell]:
        every = {"eval": {"every": 200}, "checkpoint": {"every": 1000}}
        return [Cell(tiny_config(texts, seed=seed, train=train, **every)) for seed in range(number)]

    return make


def trained_here(cells: Sequence[Cell], out: Path) -> dict[str, dict[str, bytes]]:
    for cell in cells:
        train(cell.config, run_of(out, cell))
    return content(out)


def content(out: Path) -> dict[str, dict[str, bytes]]:
    """What must be alike wherever a run was trained, of each run: all but times and what tells of the machine."""

    def of(run: Path) -> dict[str, bytes]:
        found = {p.relative_to(run).as_posix(): p.read_bytes() for p in run.rglob("*") if p.is_file()}
        summary = json.loads(found["summary.json"])
        for key in ("train_seconds", "streams"):  # the latter are digests, of times too
            summary.pop(key, None)
        left = {name: data for name, data in found.items() if name.split("/")[-1] not in TIMES}
        return {**left, "summary.json": json.dumps(summary).encode()}

    return {run.name: of(run) for run in sorted((out / "runs").iterdir())}


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "sweep.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def workers_under(ancestor: int) -> list[Path]:
    """Run folders of our workers that a process of this machine has started, directly or not."""
    parents, commands = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(process.name)] = (process / "cmdline").read_bytes().split(b"\0")
        except (OSError, IndexError, ValueError):
            continue
    found = []
    for pid, command in commands.items():
        above = pid
        while above in parents and above != ancestor:
            above = parents[above]
        if above == ancestor and b"ngptlab.jobs.worker" in command:
            found.append(Path(command[command.index(b"ngptlab.jobs.worker") + 2].decode()))
    return found


def once_trained(ancestor: int, steps: int, act: Callable[[], object]) -> threading.Thread:
    """Do `act` once a worker under this process has gone so many steps."""

    def wait() -> None:
        end = time.monotonic() + 200
        runs: list[Path] = []
        while time.monotonic() < end:
            # Once a worker is found its run alone is looked at: all processes are many, and the run takes a second.
            runs = runs or workers_under(ancestor)
            if any(read_progress(run, 10**6).step >= steps for run in runs):
                act()
                return
            time.sleep(0.005 if runs else 0.05)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@contextlib.contextmanager
def most_at_once(nodes: Sequence[Any]) -> Iterator[list[int]]:
    """The most workers that each node was seen to have at a time, once the block has ended."""
    found, over = [0 for _ in nodes], threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            for at, node in enumerate(nodes):
                found[at] = max(found[at], len(workers_under(raylet_of(node))))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def raylet_of(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


@pytest.mark.usefixtures("handlers_stay")
def test_a_sweep_has_the_bytes_of_local(
    cluster: Any, tiny: list[str], tmp_path: Path, in_process: None, capsys: Captured
) -> None:
    """In the shared folder. One rate diverges, which is a result here too; the same command again trains nothing."""
    command = ["sweep", "mup-bytes-small", *tiny, *WILD, *RATES]
    here, there = tmp_path / "local", tmp_path / "ray"
    assert main([*command, "--out", str(here)]) == 0
    with most_at_once(cluster.list_all_nodes()) as most:
        assert main([*command, "--out", str(there), "--executor", "ray", "--address", cluster.address]) == 0
    assert most == [1, 1], "a node of one core has one run at a time"
    printed = capsys.readouterr()
    assert (
        "Ray: 2 nodes, 2 CPUs, 0 GPUs; a run takes 1 CPU and 0 GPUs" in printed.err
        and "Runs that diverged: 1" in printed.out
    )
    assert rows(there) == rows(here) and [row["status"] for row in rows(there)] == [
        "done",
        "done",
        "diverged",
    ]
    assert content(there) == content(here)
    assert {path.name for path in there.iterdir()} == {path.name for path in here.iterdir()} | {
        "configs",
        "logs",
    }

    before = {path: path.stat().st_mtime_ns for path in (there / "runs").rglob("*")}
    assert main([*command, "--out", str(there), "--executor", "ray", "--address", "127.0.0.1:1"]) == 0, (
        "none is asked"
    )
    assert {path: path.stat().st_mtime_ns for path in (there / "runs").rglob("*")} == before


def test_a_node_is_killed(
    cluster: Any, make_cells: Callable[..., list[Cell]], tmp_path: Path, capsys: Captured
) -> None:
    """Runs travel. Those of the lost node are trained again, and all are there and equal."""
    cells = make_cells(4, steps=400)
    doomed = cluster.add_node(num_cpus=1)
    killer = once_trained(raylet_of(doomed), 5, lambda: cluster.remove_node(doomed, allow_graceful=False))
    executor = Ray(address=cluster.address, in_place=False)
    assert executor.train(cells, tmp_path / "ray", StopRequest()) == {}
    killer.join()
    assert doomed not in cluster.list_all_nodes()
    assert content(tmp_path / "ray") == trained_here(cells, tmp_path / "here")
    err = capsys.readouterr().err
    assert err.count("its worker was lost; try 2 of 4") == 1, err
    assert executor.train(cells, tmp_path / "ray", StopRequest()) == {}
    assert "its worker was lost" not in capsys.readouterr().err


@pytest.mark.usefixtures("handlers_stay")
def test_failures_are_told_with_their_reasons(
    cluster: Any, make_cells: Callable[..., list[Cell]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is in the way, which the worker finds; and a node with another text, which trains nothing."""
    (occupied,) = make_cells(1, steps=4)
    other = Cell(tiny_config(tmp_path / "some_texts", data={"val_share": OTHER}))
    run_of(tmp_path / "out", occupied).mkdir(parents=True)
    (run_of(tmp_path / "out", occupied) / "mine").touch()
    whole = on_ray.open_data

    class Other:
        digest = "0" * 64

    monkeypatch.setattr(
        on_ray, "open_data", lambda config: Other() if config.data.val_share == OTHER else whole(config)
    )
    failures = Ray(address=cluster.address, quiet=True).train(
        [occupied, other], tmp_path / "out", StopRequest()
    )
    assert set(failures) == {occupied.config.hash, other.config.hash}
    assert "neither empty nor a run directory; give a new folder as --out" in failures[occupied.config.hash]
    assert f"text:{tmp_path / 'some_texts'} gives data" in failures[other.config.hash]
    assert "here and 00000000 where the study was started" in failures[other.config.hash]
    assert not run_of(tmp_path / "out", other).exists()


def test_stopped_it_goes_on_from_where_it_was(
    cluster: Any,
    make_cells: Callable[..., list[Cell]],
    tmp_path: Path,
    outcome: Callable[[Path], dict[str, bytes]],
) -> None:
    """Runs travel, and so does the checkpoint: back, and to the node that goes on."""
    (cell,) = make_cells(1, steps=600)
    request, out = StopRequest(), tmp_path / "out"

    def stop() -> None:
        request.signal_number = signal.SIGTERM

    asker = [once_trained(raylet_of(node), 20, stop) for node in cluster.list_all_nodes()]
    executor = Ray(address=cluster.address, in_place=False, quiet=True)
    with pytest.raises(SweepStopped, match="stopped by SIGTERM with 0 of 1 cells finished"):
        executor.train([cell], out, request)
    assert asker
    run = Run(run_of(out, cell))
    assert run.ending.status == "stopped" and 20 <= (run.ending.step or 0) < 600
    assert len(list_checkpoints(run.path / "checkpoints")) == 1
    times = run.content("timing")
    assert executor.train([cell], out, StopRequest()) == {}
    train(cell.config, tmp_path / "here")
    assert outcome(run.path) == outcome(tmp_path / "here")
    assert Run(run.path).content("timing").startswith(times), "no step before it was trained again"
