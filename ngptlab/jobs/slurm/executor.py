"""The executor of a cluster: a study's cells as an array of jobs, each of which trains one cell and goes on by itself.

The study's command waits for them where it was given, and shows how far they are. It holds nothing that they need: however it
ends, the jobs go on, and the same command again finds those that are under way by what it noted in `slurm/jobs.json`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ngptlab.console import Console
from ngptlab.device import NOT_KNOWN, RUNS_AT_ONCE
from ngptlab.errors import ConfigError
from ngptlab.jobs import local
from ngptlab.jobs.board import Board
from ngptlab.jobs.cell import Cell, log_of, run_of
from ngptlab.jobs.cell_log import last_words, tell_warnings
from ngptlab.jobs.outcome import SEEN_SECONDS, outcome
from ngptlab.jobs.slurm import submission
from ngptlab.jobs.slurm.resources import Resources
from ngptlab.jobs.slurm.submission import Kind, Queue
from ngptlab.jobs.slurm.task import Task
from ngptlab.jobs.worker_process import SAVE_SECONDS, put_config
from ngptlab.method_files.running import trusting
from ngptlab.train.stop import StopRequest

FOLDER = "slurm"
"""In a study's folder: scripts, pickles and logs of its jobs."""
LARGEST_ARRAY = 1000
"""Most elements of one array: Slurm's own limit, where a cluster has no other."""
WAITING = {
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
}


class Detached(local.SweepStopped):
    """A study's command was stopped; its jobs go on."""

    def __init__(self, signal_number: int, finished: int, total: int, jobs: Sequence[str]) -> None:
        super().__init__(signal_number, finished, total)
        numbers = sorted({job.partition("_")[0] for job in jobs}, key=int)
        name = signal.Signals(signal_number).name
        left = f"jobs {' '.join(numbers)} go on without it, and `scancel {' '.join(numbers)}` ends them"
        self.args = (
            f"stopped by {name} with {finished} of {total} cells finished; {left if numbers else 'no job is left'}",
        )


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """The executor of a cluster, or of this machine by the same way.

    Raises:
        ConfigError: a job has more than one process, and a cell is trained by one.
    """

    resources: Resources
    kind: Kind = "slurm"
    at_once: int = 0
    """Most jobs that run at the same time; 0: as the cluster has room, or here one a core (with a GPU one)."""
    poll_seconds: float = 5.0
    quiet: bool = False
    places: list[Path] = field(default_factory=list)
    """Folders of the studies that were prepared; for whoever tells of them."""

    def __post_init__(self) -> None:
        if self.resources.processes > 1:
            raise ConfigError(
                f"a study's job trains one cell in one process: given --nodes {self.resources.nodes} and "
                f"{self.resources.processes_per_node} processes a node; leave both out, with "
                "--gpus-per-node 1 at most; --at-once says how many jobs run at the same time"
            )

    def prepare(self, cells: Sequence[Cell], out: Path) -> None:
        """Make the corpus here, once, and find out whether jobs can be submitted at all."""
        self._queue(out).check()
        local.prepare(cells, out)
        self.places.append(out)

    def train(self, cells: Sequence[Cell], out: Path, request: StopRequest) -> dict[str, str]:
        """See `Executor.train`. Cells whose jobs are under way since an earlier command are waited for, not submitted again.

        Raises:
            Detached: `request` asked for it. Jobs of a cluster go on; those of this machine were saved.
            ConfigError: cells have jobs of the other kind, which may be under way.
        """
        if not cells:
            return {}
        folder, queue = submission.open_folder(out / FOLDER), self._queue(out)
        with Board(cells, Console(quiet=True) if self.quiet else None) as board:
            waiting = local.unfinished(cells, out, board)
            submission.check_kind(folder, self.kind, [cell.config.hash for cell in waiting])
            noted = submission.recorded(folder, self.kind)
            known = queue.states(noted.values())
            active = {
                cell.config.hash: noted[cell.config.hash]
                for cell in waiting
                if cell.config.hash in noted and not submission.is_over(known[noted[cell.config.hash]])
            }
            if active:
                board.note(f"{len(active)} jobs of an earlier command are under way")
            waiting = [cell for cell in waiting if cell.config.hash not in active]
            by_hash = {cell.config.hash: cell for cell in cells}
            failures: dict[str, str] = {}
            ended: dict[str, float] = {}
            while waiting or active:
                if request.signal_number is not None:
                    raise self._detached(request.signal_number, cells, out, queue, list(active.values()))
                room = self._room(len(waiting), len(active))
                if waiting and room > 0:
                    batch, waiting = waiting[:room], waiting[room:]
                    submitted = self._submit(batch, out, folder, queue)
                    board.note(_told(len(batch), sorted(submitted.values())))
                    active |= submitted
                time.sleep(self.poll_seconds)
                known = queue.states(active.values())
                for key, job in list(active.items()):
                    self._look(by_hash[key], known[job], out, board)
                    if submission.is_over(known[job]):
                        if _may_come(by_hash[key], known[job], out, ended.setdefault(job, time.monotonic())):
                            continue
                        del active[key]
                        self._close(by_hash[key], job, known[job], out, failures, board)
                board.refresh(self._most(len(cells)))
        return failures

    def _queue(self, out: Path) -> Queue:
        return submission.queue(self.kind, self.resources, out / FOLDER, name=out.name)

    def _most(self, cells: int) -> int:
        """Jobs that run at the same time, as far as it is known."""
        if self.at_once:
            return self.at_once
        return cells if self.kind == "slurm" else 1 if self.resources.gpus_per_node else local.cores()

    def _room(self, waiting: int, active: int) -> int:
        """Jobs that may be submitted now. Each array of a cluster keeps `at_once` for itself, so there is one at a time."""
        if self.kind == "local":
            return self._most(waiting) - active
        return 0 if self.at_once and active else LARGEST_ARRAY

    def _submit(self, cells: Sequence[Cell], out: Path, folder: Path, queue: Queue) -> dict[str, str]:
        """Submit a job for each cell; their names by the cells' hashes, which are noted before anything else happens."""
        tasks = [self._task(cell, out) for cell in cells]
        jobs = queue.submit(tasks, at_once=self._most(len(cells)))
        submitted = {cell.config.hash: job for cell, job in zip(cells, jobs, strict=True)}
        submission.record(folder, submitted, self.kind)
        return submitted

    def _task(self, cell: Cell, out: Path) -> Task:
        path, threads = put_config(cell, out, self.resources.cpus_per_task or 1)
        run = str(run_of(out, cell).absolute())
        return Task(
            ("ngptlab.jobs.worker", str(path.absolute()), run),
            run,
            log=str(log_of(out, cell).absolute()),
            signal_seconds=self.resources.signal_seconds,
            environment={**trusting(), "OMP_NUM_THREADS": str(threads), RUNS_AT_ONCE: NOT_KNOWN},
        )

    def _look(self, cell: Cell, state: str, out: Path, board: Board) -> None:
        shown = "waiting" if state in WAITING else "running"
        board.set(cell, shown, local.progress_of(out, cell))

    def _close(
        self, cell: Cell, job: str, state: str, out: Path, failures: dict[str, str], board: Board
    ) -> None:
        """Record how the cell of a job that is over ended."""
        ended = outcome(cell, out)
        tell_warnings(cell, log_of(out, cell), ended, board)
        if not ended.over:
            failures[cell.config.hash] = f"job {job} ({state.lower()}): {_last_words(log_of(out, cell))}"
            ended = outcome(cell, out, failures)
        board.set(cell, ended.status, local.progress_of(out, cell), ended.reason)

    def _detached(
        self, number: int, cells: Sequence[Cell], out: Path, queue: Queue, jobs: Sequence[str]
    ) -> Detached:
        if self.kind == "local":
            queue.stop(jobs)
            until = time.monotonic() + SAVE_SECONDS
            while time.monotonic() < until and not all(
                submission.is_over(state) for state in queue.states(jobs).values()
            ):
                time.sleep(local.POLL_SECONDS)
            jobs = []
        return Detached(number, sum(outcome(cell, out).over for cell in cells), len(cells), jobs)


def _may_come(cell: Cell, state: str, out: Path, since: float) -> bool:
    """Whether a job that ended well, `since` by the monotonic clock, may have a run that this machine doesn't see yet."""
    late = state == "COMPLETED" and not outcome(cell, out).over
    return late and time.monotonic() - since < SEEN_SECONDS


def _told(number: int, jobs: Sequence[str]) -> str:
    first = jobs[0].partition("_")[0]
    what = (
        f"job {first}"
        if number == 1
        else f"{number} jobs, {first} with its elements"
        if "_" in jobs[0]
        else f"{number} jobs"
    )
    return f"submitted {what}"


def _last_words(log: Path) -> str:
    """The last line of a cell's log that tells of an end; where there is none, where else to look.

    Slurm tells how a job ended, and not with which code its cell did. One that was killed has said nothing, though its log
    may hold notes.
    """
    try:
        return last_words(log, None) or f"it said nothing of an end; see the logs in {FOLDER}/"
    except OSError:
        return f"it wrote no log; see those in {FOLDER}/"
