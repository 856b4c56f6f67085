"""Train cells on the nodes of a Ray cluster, each as a task that starts our worker there.

A job is a dictionary of plain values, and what runs on a node is `on_node.train_cell`, by name: so a node runs the ngptlab that
is installed there, and nothing of ours is pickled. The run folders decide what is trained, as they do for `Local`.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ngptlab import config as configs
from ngptlab import disk
from ngptlab.config import RunConfig
from ngptlab.config.due import most_checkpoints
from ngptlab.console import Console
from ngptlab.data.corpus import long_document_tokens, open_data
from ngptlab.device import NOT_KNOWN, RUNS_AT_ONCE
from ngptlab.errors import ConfigError, DataError, LabError, without_secrets
from ngptlab.folders import make, own, remove_temporaries
from ngptlab.jobs.board import Board
from ngptlab.jobs.cell import Cell, log_of, run_of
from ngptlab.jobs.cell_log import tell_warnings
from ngptlab.jobs.desk import Desk
from ngptlab.jobs.local import SweepStopped, prepare, progress_of, unfinished
from ngptlab.jobs.on_node import MOST_TRIES, TOKEN, train_cell, versions
from ngptlab.jobs.outcome import SEEN_SECONDS, Outcome, outcome
from ngptlab.jobs.progress import Progress
from ngptlab.jobs.ray_cluster import check_address, joined
from ngptlab.jobs.travel import unpack
from ngptlab.jobs.worker_process import SAVE_SECONDS
from ngptlab.method_files import copies
from ngptlab.method_files.running import TRUST, trusting
from ngptlab.plan.memory import checkpoint_bytes
from ngptlab.terminal import one_line
from ngptlab.train.stop import StopRequest

POLL_SECONDS = 0.2
TRAVEL_SECONDS = 600.0
"""How much longer than for a worker to save is waited for runs that travel: 8 GiB are read, and take 70 s at 1 Gbit/s, and
several share the line of this machine."""


@dataclass(frozen=True, kw_only=True)
class Ray:
    """The executor of a Ray cluster.

    Raises:
        ConfigError: a number is out of range, or the address is none of a cluster.
    """

    address: str = ""
    """auto or HOST:PORT; '': that of RAY_ADDRESS, else a cluster of this machine alone, which ends with this process."""
    gpus_per_run: float | None = None
    """GPUs of a run, or the part of one; None: one where the config asks for CUDA, or may have it and the cluster has GPUs."""
    cpus_per_run: int = 0
    """Cores of a run, on which it has as many threads; 0: `device.threads`, or one."""
    workers: int = 0
    """Most runs at once; 0: as many as the cluster has room for."""
    in_place: bool = True
    """Whether a node that sees the study's folder trains in it. Otherwise every run travels."""
    quiet: bool = False
    """Whether nothing is shown."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"--workers: given {self.workers}; give at least 1, or 0 for as many as fit")
        gpus = self.gpus_per_run
        if gpus is not None and not (0 <= gpus <= 1 or (math.isfinite(gpus) and gpus == int(gpus) > 0)):
            raise ConfigError(
                f"--gpus-per-run: given {gpus:g}; give a part of one as 0.25, or a whole number"
            )
        check_address(self.address)

    def prepare(self, cells: Sequence[Cell], out: Path) -> None:
        """Make the corpus of this machine, by which those of the nodes are judged."""
        prepare(cells, out)

    def train(self, cells: Sequence[Cell], out: Path, request: StopRequest) -> dict[str, str]:
        """See `Executor.train`. Where nothing is left to train, no cluster is asked for."""
        with Board(cells, Console(quiet=True) if self.quiet else None) as board:
            left = unfinished(cells, out, board)
            if not left:
                return {}
            ray = joined(self.address)
            try:
                with _on_the_desk(ray, cells, out, board, self) as on_nodes:
                    return on_nodes.train(left, request)
            except ray.exceptions.RayError as error:
                raise LabError(
                    one_line(f"--executor ray: {reason_of(error)}; the same command goes on")
                ) from None


@contextlib.contextmanager
def _on_the_desk(ray: Any, cells: Sequence[Cell], out: Path, board: Board, how: Ray) -> Iterator[_OnNodes]:
    """A desk for the tasks, and the file by which nodes know the folder."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    make(out)
    own(out / "runs")
    remove_temporaries(out / "runs")
    token = secrets.token_hex(16) if how.in_place else ""
    if token:
        disk.write_text(out / TOKEN, token)
    on_this_machine = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    desk = (
        ray.remote(Desk)
        .options(
            num_cpus=0,
            scheduling_strategy=on_this_machine,
            max_restarts=MOST_TRIES,
            max_task_retries=MOST_TRIES,
        )
        .remote(str((out / "runs").absolute()))
    )
    on_nodes = _OnNodes(ray, desk, cells, out, board, how, token)
    try:
        yield on_nodes
    finally:
        on_nodes.leave()
        (out / TOKEN).unlink(missing_ok=True)


@dataclass
class _OnNodes:
    """Cells under way on the nodes."""

    ray: Any
    desk: Any
    cells: Sequence[Cell]
    out: Path
    board: Board
    how: Ray
    token: str
    flying: dict[Any, Cell] = field(default_factory=dict)
    """Cells by the reference of their task's result."""
    failures: dict[str, str] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    """Digests of corpora, by what decides them."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of a checkpoint, by what decides them."""

    def train(self, left: Sequence[Cell], request: StopRequest) -> dict[str, str]:
        """Train these; return reasons of failures, by hash. Where an error breaks that off, what is under way is saved first."""
        try:
            return self._train(left, request)
        except SweepStopped:  # all were saved
            raise
        except Exception:
            # Runs that travel would be lost with their nodes' folders.
            with contextlib.suppress(Exception):  # because the error that came first says more
                self._save_all()
            raise

    def _train(self, left: Sequence[Cell], request: StopRequest) -> dict[str, str]:
        waiting = deque(left)
        self._tell_of_the_cluster(left)
        while waiting or self.flying:
            if request.signal_number is not None:
                self._save_all()
                finished = sum(outcome(cell, self.out).over for cell in self.cells)
                raise SweepStopped(request.signal_number, finished, len(self.cells))
            while waiting and len(self.flying) < (self.how.workers or len(left)):
                self._begin(waiting.popleft())
            waiting.extend(cell for cell, result in self._landed(POLL_SECONDS) if self._close(cell, result))
            self.board.refresh(max(1, self._show()))
        return self.failures

    def leave(self) -> None:
        """Have what is still under way save and stop, although nobody waits for it."""
        with contextlib.suppress(self.ray.exceptions.RayError):
            if self.flying:
                self.desk.stop.remote()
                for reference in self.flying:
                    self.ray.cancel(reference)
            else:
                self.ray.kill(self.desk)

    def _tell_of_the_cluster(self, left: Sequence[Cell]) -> None:
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        cpus, gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
        needs = [(self._cpus(cell.config), self._gpus(cell.config)) for cell in left]
        there = ", ".join(_many(*each) for each in ((len(nodes), "node"), (cpus, "CPU"), (gpus, "GPU")))
        text = f"Ray: {there}; a run takes {_many(needs[0][0], 'CPU')} and {_many(needs[0][1], 'GPU')}"
        if not any(node.get("CPU", 0) >= needs[0][0] and node.get("GPU", 0) >= needs[0][1] for node in nodes):
            text += ", which no node has: they wait for one"
        self.board.note(text)

    def _cpus(self, config: RunConfig) -> int:
        return self.how.cpus_per_run or config.device.threads or 1

    def _gpus(self, config: RunConfig) -> float:
        if self.how.gpus_per_run is not None:
            return self.how.gpus_per_run
        has = self.ray.cluster_resources().get("GPU", 0) > 0
        return float(config.device.kind == "cuda" or (config.device.kind == "auto" and has))

    def _begin(self, cell: Cell) -> None:
        """Hand a cell to the cluster. Ray begins a task again where its node or its process is lost, and not where it raises."""
        try:
            job = self._job(cell)
        except DataError as error:
            self.failures[cell.config.hash] = str(error)
            self._set(cell, outcome(cell, self.out, self.failures))
            return
        task = self.ray.remote(train_cell).options(
            name=cell.title,
            num_cpus=self._cpus(cell.config),
            num_gpus=self._gpus(cell.config),
            max_retries=MOST_TRIES - 1,
            retry_exceptions=False,
            scheduling_strategy="SPREAD",
        )
        self.flying[task.remote(job, self.desk)] = cell

    def _job(self, cell: Cell) -> dict[str, Any]:
        config = cell.config
        trusted = {TRUST: os.environ[TRUST]} if TRUST in os.environ else {}
        return {
            "key": config.hash,
            "name": config.run_name,
            "config": configs.dump(config),
            "methods": copies.texts_in(config),
            "environment": {**trusted, **trusting(), RUNS_AT_ONCE: NOT_KNOWN},
            "threads": self._cpus(config),
            "out": str(self.out.absolute()),
            "token": self.token,
            "cwd": str(Path.cwd()),
            "digest": self._digest(config),
            "size": self._size(config),
            "versions": versions(),
        }

    def _digest(self, config: RunConfig) -> str:
        data = config.data.model_copy(update={"seed": 0})
        key = f"{data!r} {config.model.vocab_size} {long_document_tokens(config)}"
        if key not in self.digests:
            self.digests[key] = open_data(config).digest
        return self.digests[key]

    def _size(self, config: RunConfig) -> int:
        """Bytes of the checkpoints that a run has at its end; 0 where that can't be told, and its worker says why."""
        key = f"{config.arm} {config.model!r}"
        if key not in self.sizes:
            try:
                self.sizes[key] = checkpoint_bytes(config)
            except LabError:
                self.sizes[key] = 0
        # The most that it has at once are one more, because one is written before another is removed.
        return self.sizes[key] * max(1, most_checkpoints(config) - 1)

    def _landed(self, seconds: float) -> list[tuple[Cell, dict[str, Any]]]:
        """Cells whose tasks have ended, with what they returned."""
        references = list(self.flying)
        if not references:
            return []
        ended, _ = self.ray.wait(references, num_returns=len(references), timeout=seconds)
        return [(self.flying.pop(reference), self._result(reference)) for reference in ended]

    def _result(self, reference: Any) -> dict[str, Any]:
        try:
            return dict(self.ray.get(reference))
        except self.ray.exceptions.RayError as error:
            return {"said": reason_of(error)}

    def _close(self, cell: Cell, result: dict[str, Any]) -> bool:
        """Keep what came back, and record how the cell ended; True where it is to go on elsewhere."""
        said = self._keep(cell, result)
        ended = self._seen(cell, bool(result.get("over")) and not said)
        code = result.get("code")
        if isinstance(code, int) and not said:  # else the log is of an earlier worker
            tell_warnings(cell, log_of(self.out, cell), ended, self.board)
        # Somebody else than us had the worker save and stop: its node is being taken away.
        again = not ended.over and not said and isinstance(code, int) and code > 128
        if not ended.over and not again:
            self.failures[cell.config.hash] = said or str(result.get("said"))
            ended = outcome(cell, self.out, self.failures)
        self._set(cell, ended)
        return again

    def _keep(self, cell: Cell, result: dict[str, Any]) -> str:
        """Put what travelled into the study's folder; returns why that can't be."""
        try:
            # First: a full disk may still have room for them, and not for the log, too.
            if files := result.get("files"):
                unpack(files, run_of(self.out, cell))
            if isinstance(log := result.get("log"), str):
                own(self.out / "logs")
                disk.write_text(log_of(self.out, cell), log)
        except DataError as error:
            return str(error)
        except OSError as error:  # a full disk, say, which the other cells may yet come through
            return without_secrets(f"what came back can't be kept ({error.filename}: {error.strerror})")
        return ""

    def _seen(self, cell: Cell, over: bool) -> Outcome:
        """How the cell ended, once this machine sees what the node says of it."""
        end = time.monotonic() + SEEN_SECONDS
        while not (ended := outcome(cell, self.out)).over and over and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        return ended

    def _show(self) -> int:
        """Tell the board where the cells are; returns how many run."""
        there = self.ray.get(self.desk.look.remote())
        running = [cell for cell in self.flying.values() if cell.config.hash in there]
        for cell in running:
            said = there[cell.config.hash]
            if (tries := said["tries"]) > self.tries.setdefault(cell.config.hash, 1):
                self.tries[cell.config.hash] = tries
                self.board.note(
                    f"{cell.title}: its worker was lost; try {tries} of {MOST_TRIES}, on {said['node']}"
                )
            now = Progress(
                step=said.get("step", 0),
                steps=cell.config.train.steps,
                loss_nats=said.get("loss_nats"),
                step_seconds=said.get("step_seconds"),
            )
            self.board.set(cell, "running", now)
        return len(running)

    def _set(self, cell: Cell, ended: Outcome) -> None:
        self.board.set(cell, ended.status, progress_of(self.out, cell), ended.reason)

    def _save_all(self) -> None:
        """Have all cells save and stop; wait for those that had begun, and keep what comes back."""
        begun = set(self.tries)  # a desk that was lost and begun again doesn't know all of them
        # Tasks save and stop, too, where the desk is gone.
        with contextlib.suppress(self.ray.exceptions.RayError):
            begun |= set(self.ray.get(self.desk.stop.remote()))
        # A node ends a worker that doesn't save in time, so what takes longer than that travels.
        end = time.monotonic() + SAVE_SECONDS + TRAVEL_SECONDS
        while time.monotonic() < end and any(cell.config.hash in begun for cell in self.flying.values()):
            for cell, result in self._landed(POLL_SECONDS):
                if said := self._keep(cell, result):
                    self.board.note(f"{cell.title}: {said}")
        if lost := [cell.title for cell in self.flying.values() if cell.config.hash in begun]:
            self.board.note(
                f"did not come back within {SAVE_SECONDS + TRAVEL_SECONDS:.0f} s: {', '.join(lost)}"
            )


def _many(number: float, what: str) -> str:
    return f"{number:g} {what}{'s' * (number != 1)}"


def reason_of(error: Exception) -> str:
    """What Ray's error says, in a line."""
    lines = [line.strip() for line in without_secrets(str(error)).splitlines() if line.strip()]
    name = type(error).__name__
    if "No module named 'ngptlab" in str(error):
        said = "a node has no ngptlab; install the same version there"
    elif name.startswith("RayTaskError"):  # its text is the traceback of another machine
        said = lines[-1] if lines else name
    else:
        said = f"{name}: {lines[0]}" if lines else name
    return one_line(said)
