"""What a job does in each of its processes: a command of ours, started as a program of its own, and saved where Slurm asks.

submitit unpickles a `Task` on the node. It holds texts and numbers alone, and starts `python -m ngptlab...`, so what trains is
what a person could type there. Each process that Slurm starts is one of the run's: no torchrun stands between, because Slurm
already knows every process, signals it and ends it with the others.

Slurm's signal reaches the run (directly, or through here), which saves at a step's boundary and ends. Then the job is put back
into the queue, and the same command goes on from the checkpoint.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from ngptlab.disk import create
from ngptlab.folders import own
from ngptlab.jobs.progress import read_progress
from ngptlab.terminal import remark
from ngptlab.train.stop import STOPS

POLL_SECONDS = 0.2
TO_BE_KILLED_SECONDS = 900.0
"""How long a stopped process waits for Slurm to end or to requeue its job. One that ends by itself looks finished to Slurm."""
SAVE_SHARE = 0.8
"""Share of the time between Slurm's signal and the job's end in which a run may save; then it is requeued as it is."""
IDLE = 10
"""How many times in a row a job may be requeued without a step of progress. Something is wrong with it then."""
FIRST_PORT, PORTS = 15_000, 16_000
"""Below those that Linux gives to whoever asks for any."""


class Task:
    """A command of ours as a function without arguments, which submitit pickles.

    Args:
        command: words after `python -m`.
        run: the run's folder, or a study's, whose steps are its progress.
        log: the file that gets the command's output, anew at each start; empty: the job's own.
        signal_seconds: how long the command may take to save.
        idle: how many times it was requeued without progress.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        run: str,
        *,
        log: str = "",
        signal_seconds: int = 120,
        environment: Mapping[str, str] | None = None,
        idle: int = 0,
    ) -> None:
        self.command, self.run, self.log = command, run, log
        self.signal_seconds, self.idle = signal_seconds, idle
        self.environment = dict(environment or {})
        self._steps = 0
        self._child: subprocess.Popen[bytes] | None = None

    def __call__(self) -> int:
        """Run the command to its end.

        Raises:
            SystemExit: it failed, or was stopped; with its exit code.
        """
        self._steps = steps_of(Path(self.run))
        # submitit lets it pass, and the run would not hear of it.
        signal.signal(signal.SIGTERM, self._pass_on)
        if not _in_slurm():
            signal.signal(signal.SIGINT, lambda number, frame: self._pass_on(signal.SIGTERM, frame))
        code = self._command()
        if code == 0:
            return 0
        if code in {*(128 + number for number in STOPS), *(-number for number in STOPS)} and _in_slurm():
            # It saved. A preempted job that ends before Slurm ends it would count as finished, so it would not be requeued.
            remark(
                "ngptlab: stopped by a signal; waiting for Slurm to end this job or to requeue it", flush=True
            )
            time.sleep(TO_BE_KILLED_SECONDS)
        raise SystemExit(code if code > 0 else 128 - code)

    def checkpoint(self) -> Any:
        """Called by submitit, in the first process, where time is up or the job is preempted; what it gives is run next.

        Raises:
            SystemExit: the command ended by itself, or comes no further; the job is not requeued.
        """
        from submitit.helpers import DelayedSubmission

        self._pass_on(signal.SIGUSR2, None)
        code = self._saved()
        if code is not None and code >= 0 and code - 128 not in STOPS:
            raise SystemExit(code)
        idle = self.idle + 1 if steps_of(Path(self.run)) == self._steps else 0
        if idle >= IDLE:
            remark(
                f"ngptlab: requeued {IDLE} times without a step of progress; not again. Give a longer --time",
                flush=True,
            )
            raise SystemExit(2)
        return DelayedSubmission(
            Task(
                self.command,
                self.run,
                log=self.log,
                signal_seconds=self.signal_seconds,
                environment=self.environment,
                idle=idle,
            )
        )

    def _command(self) -> int:
        """Start the command and wait for it; its exit code, below 0 for a signal."""
        environment = {**os.environ, **self.environment, **ranks(os.environ)}
        words = [sys.executable, "-m", *self.command]
        # Slurm signals the whole job. Here Ctrl-C would reach the command from the terminal and from us, and a second one makes
        # it quit without saving.
        apart = not _in_slurm()
        if self.log:
            own(Path(self.log).parent)
            with create(Path(self.log)) as log:
                self._child = subprocess.Popen(
                    words,
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=apart,
                )
        else:
            self._child = subprocess.Popen(
                words, env=environment, stdin=subprocess.PIPE, start_new_session=apart
            )
        try:
            while (code := self._child.poll()) is None:
                time.sleep(POLL_SECONDS)
        finally:
            if self._child.poll() is None:
                self._child.terminate()
            if self._child.stdin:
                self._child.stdin.close()  # a cell's worker saves and stops by that, too
        return code

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        """Hand a signal to the command. Slurm may have sent it there, too; a second one changes nothing."""
        if self._child is not None and self._ended() is None:
            os.kill(self._child.pid, number)

    def _saved(self) -> int | None:
        """Wait until the command has saved and ended; its exit code, or None where that takes too long."""
        if self._child is None:
            return None
        until = time.monotonic() + SAVE_SHARE * self.signal_seconds
        while (code := self._ended()) is None and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return code

    def _ended(self) -> int | None:
        """The command's exit code, below 0 for a signal, None while it runs; does not take it from `Popen`.

        A handler of a signal may interrupt `poll`, whose lock it would then wait for.
        """
        assert self._child is not None
        if self._child.returncode is not None:
            return self._child.returncode
        try:
            told = os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # taken, and not noted yet
            return 0
        if told is None:
            return None
        return told.si_status if told.si_code == os.CLD_EXITED else -told.si_status


def steps_of(folder: Path) -> int:
    """Steps that a run has finished, or all runs of a study together."""
    runs = [folder, *folder.glob("runs/*")]
    return sum(read_progress(run, 0).step for run in runs)


def ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """What torchrun would tell this process (`world.launched`), from what Slurm, or submitit in its place, tells it."""
    from submitit import JobEnvironment

    job = JobEnvironment()
    if job.num_tasks == 1:
        return {}
    on_node = job.num_tasks // job.num_nodes
    first = "127.0.0.1" if job.num_nodes == 1 else job.hostnames[0]
    return {
        "RANK": str(job.global_rank),
        "WORLD_SIZE": str(job.num_tasks),
        "LOCAL_RANK": str(job.local_rank),
        "LOCAL_WORLD_SIZE": str(on_node),
        "MASTER_ADDR": first,
        "MASTER_PORT": str(port_of(job.raw_job_id, environment.get("SLURM_RESTART_COUNT", "0"))),
        # As torchrun has it: else each process would have a thread on every core.
        "OMP_NUM_THREADS": environment.get("OMP_NUM_THREADS") or environment.get("SLURM_CPUS_PER_TASK", "1"),
    }


def port_of(job: str, restarts: str) -> int:
    """A port that all processes of a job know without asking, another one at each of its starts."""
    number = int(job) if job.isdecimal() else 0
    return FIRST_PORT + (number + 7919 * int(restarts or 0)) % PORTS


def _in_slurm() -> bool:
    return os.environ.get("SUBMITIT_EXECUTOR") == "slurm"
