"""Jobs, submitted and asked about: through submitit to Slurm, or on this machine in the same way."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from ngptlab import disk, folders
from ngptlab.disk import write_json
from ngptlab.errors import ConfigError
from ngptlab.jobs.slurm.resources import Resources
from ngptlab.jobs.slurm.task import Task
from ngptlab.terminal import one_line

Kind = Literal["slurm", "local"]
JOBS = "jobs.json"
"""In the folder of jobs: {name: {"kind", "job"}} of what was submitted, which is under way or was."""
PROC = Path("/proc")
"""Where Linux tells of processes."""
OVER = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
    "REVOKED",
}
"""States of Slurm in which a job comes to nothing any more."""
UNKNOWN = "UNKNOWN"
MOST_TIMEOUTS = 1_000_000
"""submitit counts down from here. What ends a job that comes no further is `task.IDLE`."""
ASK_SECONDS = 60.0
SHOWN = 300


class Queue(Protocol):
    """Where jobs go."""

    def check(self) -> None:
        """Find out whether jobs can be submitted from here.

        Raises:
            ConfigError: they can't.
        """

    def submit(self, tasks: Sequence[Task], *, at_once: int) -> list[str]:
        """Submit tasks, several as an array; their jobs' names, in order.

        Raises:
            ConfigError: they were refused.
        """

    def states(self, jobs: Iterable[str]) -> dict[str, str]:
        """What is known of jobs: their states by name, `UNKNOWN` or none where nothing is."""

    def stop(self, jobs: Iterable[str]) -> None:
        """Have jobs save and end, and not go on."""


@dataclass(frozen=True, kw_only=True)
class OnSlurm:
    """A cluster's queue."""

    resources: Resources
    folder: Path
    """Of scripts, pickles and logs; every node must see it."""
    name: str

    def check(self) -> None:
        """See `Queue.check`."""
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise ConfigError(
                "--executor slurm: no sbatch here; give this on a login node of the cluster, --executor local runs the same "
                "here, --dry-run prints the script"
            )

    def submit(self, tasks: Sequence[Task], *, at_once: int) -> list[str]:
        """See `Queue.submit`."""
        import submitit

        self.check()
        executor = submitit.SlurmExecutor(folder=self.folder / "%j", max_num_timeout=MOST_TIMEOUTS)
        executor.update_parameters(**self.resources.for_slurm(self.name, at_once))
        return _submit(executor, tasks)

    def script(self, tasks: int, *, at_once: int) -> str:
        """The script that `submit` would give to sbatch."""
        import submitit

        class Written(submitit.SlurmExecutor):  # type: ignore[misc]
            """Can be made where there is no Slurm."""

            @classmethod
            def affinity(cls) -> int:
                return 1

        executor = Written(folder=self.folder / "%j", max_num_timeout=MOST_TIMEOUTS)
        executor.update_parameters(**self.resources.for_slurm(self.name, at_once))
        if tasks > 1:
            executor.parameters["map_count"] = tasks
        return str(executor._make_submission_file_text(executor._submitit_command_str, ""))

    def states(self, jobs: Iterable[str]) -> dict[str, str]:
        """See `Queue.states`."""
        return _states_in_slurm(jobs)

    def stop(self, jobs: Iterable[str]) -> None:
        """See `Queue.stop`."""
        for job in jobs:
            _ask("scancel", job)


@dataclass(frozen=True, kw_only=True)
class OnThisMachine:
    """Jobs as processes of this machine, each with its controller, whose process is the job's name."""

    resources: Resources
    folder: Path

    def check(self) -> None:
        """See `Queue.check`."""
        if not (PROC / "self" / "cmdline").exists():
            raise ConfigError(
                f"--executor local: this system has no {PROC}, by which jobs are found again; give the command without submit"
            )

    def submit(self, tasks: Sequence[Task], *, at_once: int) -> list[str]:
        """See `Queue.submit`. All begin at once; whoever submits takes care of that."""
        import submitit

        executor = submitit.LocalExecutor(folder=self.folder / "%j", max_num_timeout=MOST_TIMEOUTS)
        executor.update_parameters(**self.resources.for_this_machine())
        with disk.create(self.folder / "controllers.log") as log, _writing_to(log), _deaf():
            return _submit(executor, tasks, who="submitit")

    def states(self, jobs: Iterable[str]) -> dict[str, str]:
        """See `Queue.states`."""
        return _states_here(jobs)

    def stop(self, jobs: Iterable[str]) -> None:
        """See `Queue.stop`."""
        for job in jobs:
            if _is_controller(job):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(job), signal.SIGTERM)


def queue(kind: Kind, resources: Resources, folder: Path, name: str) -> OnSlurm | OnThisMachine:
    """The queue of this kind, whose files are in `folder`.

    Raises:
        ConfigError: submitit is not installed, or this machine can't give what is asked for.
    """
    try:
        metadata.version("submitit")
    except metadata.PackageNotFoundError:
        raise ConfigError(
            "submit: the package submitit is not installed; `pip install 'ngptlab[slurm]'` installs it"
        ) from None
    folder = folder.absolute()
    if "%" in str(folder):
        raise ConfigError(
            f"{folder}: Slurm and submitit read % in a path as their own sign; give another --out"
        )
    if kind == "local":
        resources.for_this_machine()
        return OnThisMachine(resources=resources, folder=folder)
    return OnSlurm(resources=resources, folder=folder, name=name)


def open_folder(folder: Path) -> Path:
    """The folder of jobs, made where it is missing. What lies there is code (SECURITY.md), so it may be no link.

    Raises:
        OSError: it can't be made, or is a link.
    """
    folders.make(folder.parent)
    return folders.own(folder)


def recorded(folder: Path, kind: Kind) -> dict[str, str]:
    """Jobs of this kind that were submitted from this folder, by name; none where the record is missing or damaged."""
    return {name: job for name, (of, job) in _record(folder).items() if of == kind}


def record(folder: Path, jobs: Mapping[str, str], kind: Kind) -> None:
    """Note what was submitted, beside what was noted before."""
    noted = {**_record(folder), **{name: (kind, job) for name, job in jobs.items()}}
    write_json(folder / JOBS, {name: {"kind": of, "job": job} for name, (of, job) in noted.items()})


def check_kind(folder: Path, kind: Kind, names: Iterable[str]) -> None:
    """Look for jobs of the other kind under these names. A number of Slurm's says nothing about processes, and the reverse.

    Raises:
        ConfigError: some are under way, or may be, because Slurm can't be asked from here.
    """
    other: Kind = "slurm" if kind == "local" else "local"
    noted = recorded(folder, other)
    jobs = [noted[name] for name in names if name in noted]
    if not jobs:
        return
    states = _states_in_slurm(jobs) if other == "slurm" else _states_here(jobs)
    if left := [job for job in jobs if not is_over(states[job])]:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise ConfigError(
            f"{folder / JOBS}: job {left[0]}{more} of --executor {other} may be under way; give --executor {other}, or end "
            "what is under way and delete that file"
        )


def _record(folder: Path) -> dict[str, tuple[Kind, str]]:
    """What `JOBS` holds. An entry of before is a number alone, and taken for one of Slurm's."""
    try:
        found = disk.read_json(folder / JOBS)
    except (OSError, ValueError):
        return {}
    noted: dict[str, tuple[Kind, str]] = {}
    for name, entry in found.items() if isinstance(found, dict) else ():
        said = entry if isinstance(entry, dict) else {"job": entry}
        kind, job = said.get("kind", "slurm"), said.get("job")
        if kind in ("slurm", "local") and isinstance(job, str) and re.fullmatch(r"\d+(_\d+)?", job):
            noted[str(name)] = (kind, job)
    return noted


def is_over(state: str) -> bool:
    """Whether a job in this state comes to nothing any more. Slurm forgets what ended some minutes ago."""
    return state in OVER or state == UNKNOWN


def _submit(executor: Any, tasks: Sequence[Task], *, who: str = "sbatch") -> list[str]:
    try:
        jobs = executor.submit_array(tasks)
    except OSError:
        raise
    except Exception as error:  # submitit's own kinds, with what sbatch said
        said = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise ConfigError(one_line(f"{who} refused the job: {said[-1][:SHOWN]}")) from None
    return [str(job.job_id) for job in jobs]


@contextlib.contextmanager
def _writing_to(log: BinaryIO) -> Iterator[None]:
    """Have processes that are started meanwhile write there, so that none of them holds our standard output open."""
    kept = [os.dup(number) for number in (1, 2)]
    try:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
        yield
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Have processes that are started meanwhile ignore what a terminal sends to all of its group: Ctrl-C, and that it closes.

    A session of their own would do it better, and submitit doesn't offer it. A Ctrl-C at this very moment is lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _ask(*command: str) -> str | None:
    """What a program of Slurm's prints; None where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _states_in_slurm(jobs: Iterable[str]) -> dict[str, str]:
    """States of Slurm's jobs, by squeue, because not every cluster keeps accounts for sacct."""
    done = _ask("squeue", "--noheader", "--array", "--states=all", "--format=%i %T", "--me")
    if done is None:
        # Slurm doesn't answer for a while, which says nothing of the jobs.
        return dict.fromkeys(jobs, "PENDING")
    told = dict(line.split(maxsplit=1) for line in done.splitlines() if " " in line.strip())
    return {job: told.get(job, UNKNOWN).strip() for job in jobs}


def _states_here(jobs: Iterable[str]) -> dict[str, str]:
    """States of this machine's jobs."""
    return {job: "RUNNING" if _is_controller(job) else "COMPLETED" for job in jobs}


def _is_controller(job: str) -> bool:
    """Whether a process of this number is submitit's, and not another one that has the number by now."""
    try:
        return b"submitit.local._local" in disk.read_bytes(PROC / job / "cmdline")
    except OSError:
        return False
