"""Train cells in processes of this machine, K at a time, each on its own part of the cores.

Each cell, or stack of cells, has a process of its own, not a place in a pool. A crash, a signal or a leak then stays in its
cell, and a cell is a command that can be run alone. The run directory decides what is trained: done and diverged cells are not
trained again, and all others go on from their checkpoint. Cells that a stack left unfinished are trained one by one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ngptlab.config import RunConfig
from ngptlab.console import Console
from ngptlab.data.corpus import open_data
from ngptlab.device import RUNS_AT_ONCE, on_cuda
from ngptlab.disk import locked
from ngptlab.errors import ConfigError
from ngptlab.folders import make, put_back
from ngptlab.jobs.board import Board
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.cell_log import last_words, tell_warnings
from ngptlab.jobs.executor import Executor, Gate
from ngptlab.jobs.outcome import Outcome, outcome
from ngptlab.jobs.progress import Progress, read_progress
from ngptlab.jobs.stacks import Cells, stacks
from ngptlab.jobs.worker_process import SAVE_SECONDS, Worker, hang_up, start
from ngptlab.ledger.book import Ledger
from ngptlab.ledger.lend import lent
from ngptlab.runs import Run
from ngptlab.tracking.sink import check_installed
from ngptlab.tracking.tracker_process import hand_on
from ngptlab.train.stop import Stopped, StopRequest, listen
from ngptlab.world.launched import check_alone

POLL_SECONDS = 0.1


class SweepStopped(Stopped):
    """The sweep was stopped by a signal after its cells were saved."""

    def __init__(self, signal_number: int, finished: int, total: int) -> None:
        name = signal.Signals(signal_number).name
        Exception.__init__(self, f"stopped by {name} with {finished} of {total} cells finished; saved")
        self.step = finished
        self.exit_code = 128 + signal_number


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(cells: Sequence[Cell], out: Path) -> None:
    """Make the corpus once, before many processes need it, so that wrong data give one error and not one in every cell.

    Raises:
        LabError: no cell can be trained: the data are wrong, the tracker is missing, or several processes do this at once.
    """
    check_alone("several runs")
    for cell in cells:
        if not cell.refusal and not outcome(cell, out).over:
            check_installed(cell.config.track)
            open_data(cell.config)
            break


@contextlib.contextmanager
def alone(out: Path) -> Iterator[None]:
    """Lock the folder of a study against other commands, because each of two would start the other's cells and wait.

    Raises:
        ConfigError: another command trains there.
        OSError: the folder can't be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(out / ".lock"))
        except BlockingIOError:
            raise ConfigError(
                f"{out}: another command is training there; wait for it or stop it, or give another --out"
            ) from None
        yield


@contextlib.contextmanager
def studying(
    cells: Sequence[Cell],
    out: Path,
    *,
    executor: Executor,
    ledger: Ledger | None = None,
    kept_for: Mapping[Path, Sequence[Path]] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[StopRequest]:
    """Lock a study's folder, fill it with the ledger's runs of its cells, make what the others need, and listen for signals.

    Args:
        kept_for: trunks and the branches of each. A ledger has no weights, so a trunk is taken from it only where all of
            its branches exist.

    Raises:
        LabError: another command holds the folder, the ledger is damaged, the data are wrong.
        OSError: the folder or the ledger can't be written.
    """
    if ledger is None:
        executor.prepare(cells, out)  # before the folder is made, so that wrong data leave none behind
    make(out)
    places = {run_of(out, cell): cell.config for cell in cells if not cell.refusal}
    trunks = kept_for or {}

    def complete(path: Path) -> bool:
        return path in trunks and all((branch / "config.json").exists() for branch in trunks[path])

    with alone(out):
        put_back(out / "runs")  # what a kill took away is not missing
        with (
            lent(ledger, places, digest=_digest, note=tell, wanted=lambda path: path not in trunks),
            lent(ledger, places, digest=_digest, note=tell, wanted=complete),
        ):
            if ledger is not None:
                executor.prepare(cells, out)
            with listen() as request:
                yield request


def _digest(config: RunConfig) -> str:
    return open_data(config).digest


@dataclass(frozen=True, kw_only=True)
class Local:
    """The executor of this machine.

    Raises:
        ConfigError: the number of workers is negative.
    """

    workers: int = 0
    """Number of processes, each on its part of the cores; 0: one for each core, or one on a GPU."""
    stack: int | None = 1
    """Most cells of one shape that are trained as one program; 1: none; None: as many as pays."""
    gate: Gate | None = None
    """Asked before each start. From its first no on nothing is started; what is under way ends, and the rest stays untrained."""
    quiet: bool = False
    """Whether nothing is shown."""

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"--workers: given {self.workers}; give at least 1, or 0 for one a core")

    def prepare(self, cells: Sequence[Cell], out: Path) -> None:
        """Make the corpus."""
        prepare(cells, out)

    def train(self, cells: Sequence[Cell], out: Path, request: StopRequest) -> dict[str, str]:
        """See `Executor.train`. Progress is shown on a `Board`."""
        if not cells:
            return {}
        # On a GPU one cell at a time, because only the user knows whether two fit into its memory.
        workers = self.workers or (1 if on_cuda(cells[0].config.device) else cores())
        with Board(cells, Console(quiet=True) if self.quiet else None) as board:
            waiting = _stacked(unfinished(cells, out, board), out, board, self.stack, workers)
            return _train(cells, waiting, out, workers, board, request, self.gate)


def unfinished(cells: Sequence[Cell], out: Path, board: Board) -> list[Cell]:
    """Cells that are not over; the states of the others are set on the board."""
    unfinished: list[Cell] = []
    for cell in cells:
        there = outcome(cell, out)
        if there.over or cell.refusal:
            if there.over and not cell.refusal:
                hand_on(cell.config.track, Run(run_of(out, cell)), board.note)
            board.set(cell, there.status, progress_of(out, cell), there.reason)
        else:
            unfinished.append(cell)
    return unfinished


def _stacked(cells: Sequence[Cell], out: Path, board: Board, choice: int | None, workers: int) -> list[Cells]:
    if choice == 1:
        return [(cell,) for cell in cells]
    return stacks(cells, partial(run_of, out), choice=choice, workers=workers, note=board.note)


def _train(
    cells: Sequence[Cell],
    groups: Sequence[Cells],
    out: Path,
    workers: int,
    board: Board,
    request: StopRequest,
    gate: Gate | None,
) -> dict[str, str]:
    """Train `groups` of the cells, each in a process; return reasons of failures, by hash."""
    waiting, threads = deque(groups), max(1, cores() // workers)
    beside = {RUNS_AT_ONCE: str(min(workers, len(groups)))}
    active: list[Worker] = []
    failures: dict[str, str] = {}
    try:
        while waiting or active:
            if request.signal_number is not None:
                _save_all(active)
                finished = sum(outcome(cell, out).over for cell in cells)
                raise SweepStopped(request.signal_number, finished, len(cells))
            while waiting and len(active) < workers:
                if gate and not gate.holds(len(waiting[0])):
                    waiting.clear()
                    break
                active.append(start(waiting.popleft(), out, threads, beside))
            time.sleep(POLL_SECONDS)
            for worker in list(active):
                if worker.process.poll() is None:
                    for cell in worker.cells:
                        board.set(cell, "running", progress_of(out, cell))
                else:
                    active.remove(worker)
                    if gate:
                        gate.took(len(worker.cells), time.monotonic() - worker.begun)
                    waiting.extend((cell,) for cell in _close(worker, out, failures, board))
            board.refresh(workers)
    finally:
        for worker in active:
            hang_up(worker)
    return failures


def progress_of(out: Path, cell: Cell) -> Progress:
    return read_progress(run_of(out, cell), cell.config.train.steps)


def _close(worker: Worker, out: Path, failures: dict[str, str], board: Board) -> list[Cell]:
    """Record how a worker's cells ended; return the unfinished cells of a stack, which are then trained alone."""
    hang_up(worker)
    again = []
    for cell in worker.cells:
        ended = outcome(cell, out)
        tell_warnings(cell, worker.log, ended, board)
        if not ended.over:
            # A crash may leave an older reason in the run directory. The log's last line is nearer to the cause.
            said = last_words(worker.log, worker.process.returncode)
            if len(worker.cells) > 1:
                ended = Outcome(status="waiting", reason=f"goes on alone; its stack: {said}")
                again.append(cell)
            else:
                failures[cell.config.hash] = said
                ended = outcome(cell, out, failures)
        board.set(cell, ended.status, progress_of(out, cell), ended.reason)
    return again


def _save_all(active: Sequence[Worker]) -> None:
    for worker in active:
        worker.process.send_signal(signal.SIGTERM)
    end = time.monotonic() + SAVE_SECONDS
    for worker in active:
        try:
            worker.process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
