"""What a job asks Slurm for, and the parameters of `submitit` that say so. Imports no submitit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ngptlab.errors import ConfigError, shown

LONGEST_MINUTES = 366 * 24 * 60
SIGNAL_SHARE = 0.5
"""Most of a job's time that may lie behind the signal, because before it nothing is trained otherwise."""
OURS = {
    "array",
    "job-name",
    "nodes",
    "ntasks-per-node",
    "ntasks",
    "gpus-per-node",
    "cpus-per-task",
    "time",
    "output",
    "error",
    "signal",
    "requeue",
    "no-requeue",
    "open-mode",
    "chdir",
    "wrap",
    "parsable",
    "partition",
    "account",
    "mem",
    "qos",
}
"""What `--sbatch` can't set, because an option of ours does, or because a run would not go on without it."""
TIME = re.compile(r"(?:(?P<days>\d{1,3})-)?(?P<clock>\d{1,6}(?::\d{1,2}){0,2})", re.ASCII)


def minutes_of(text: str) -> int:
    """Slurm's way to write a time, in whole minutes, rounded up: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S.

    Raises:
        ConfigError: it is no time, or none that a job can have.
    """
    found = TIME.fullmatch(text)
    if not found:
        raise ConfigError(
            f"--time: given {shown(text)}; give hours:minutes:seconds, as 4:00:00, or 1-12 for a day and a half"
        )
    numbers = [int(number) for number in found["clock"].split(":")]
    if found["days"]:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    else:
        hours, minutes, seconds = {1: [0, *numbers, 0], 2: [0, *numbers], 3: numbers}[len(numbers)]
    total = -(-((int(found["days"] or 0) * 24 + hours) * 3600 + minutes * 60 + seconds) // 60)
    if not 1 <= total <= LONGEST_MINUTES:
        raise ConfigError(f"--time: given {shown(text)}; give a minute at least and a year at most")
    return total


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What each job has.

    Raises:
        ConfigError: it contradicts itself.
    """

    minutes: int
    nodes: int = 1
    gpus_per_node: int = 0
    tasks_per_node: int = 0
    """Processes on each node; 0: one a GPU, or one."""
    cpus_per_task: int = 0
    """Cores of each process; 0: as the cluster has it."""
    memory: str = ""
    """Of each node, as Slurm writes it: 64G; empty: as the cluster has it."""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    signal_seconds: int = 120
    """How long before its end a job is told to save."""
    setup: tuple[str, ...] = ()
    """Lines of shell before the run."""
    more: Mapping[str, str] = field(default_factory=dict)
    """Any other options of sbatch."""

    def __post_init__(self) -> None:
        for name in ("gpus_per_node", "tasks_per_node", "cpus_per_task"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"--{name.replace('_', '-')}: given {getattr(self, name)}; give a number from 0 on"
                )
        if self.signal_seconds > SIGNAL_SHARE * 60 * self.minutes:
            raise ConfigError(
                f"--signal-seconds: given {self.signal_seconds}, and a job has {60 * self.minutes} s; give at most "
                "half of them, or a longer --time"
            )
        if self.memory and not re.fullmatch(r"\d+[KMGT]?", self.memory, re.ASCII):
            raise ConfigError(f"--memory: given {shown(self.memory)}; give it as 64G")
        for name in self.more:
            if name in OURS or not re.fullmatch(r"[a-z][a-z0-9-]*", name):
                raise ConfigError(
                    f"--sbatch: {shown(name)} is set by an option of submit, or is none of sbatch"
                )
        for text in (
            *self.setup,
            *self.more.values(),
            self.partition,
            self.account,
            self.qos,
            self.constraint,
        ):
            if not text.isprintable():
                raise ConfigError(f"given {shown(text)}; a line of a script has no control characters")

    @property
    def processes_per_node(self) -> int:
        """Processes of a run on each node."""
        return self.tasks_per_node or self.gpus_per_node or 1

    @property
    def processes(self) -> int:
        """Processes of a run, on all nodes."""
        return self.nodes * self.processes_per_node

    def for_slurm(self, name: str, at_once: int) -> dict[str, Any]:
        """Parameters of submitit's Slurm executor. `at_once`: elements of an array that run at the same time."""
        found: dict[str, Any] = {
            "job_name": name,
            "time": self.minutes,
            "nodes": self.nodes,
            "ntasks_per_node": self.processes_per_node,
            "gpus_per_node": self.gpus_per_node or None,
            "cpus_per_task": self.cpus_per_task or None,
            "mem": self.memory or None,
            "partition": self.partition or None,
            "account": self.account or None,
            "qos": self.qos or None,
            "constraint": self.constraint or None,
            "signal_delay_s": self.signal_seconds,
            "stderr_to_stdout": True,
            "array_parallelism": at_once,
            "setup": list(self.setup) or None,
            # A cluster may have it otherwise, and then a run that is preempted would end.
            "additional_parameters": {"requeue": True, **self.more},
            # A process that ends in error must not leave the others waiting for it. Since Slurm 22.05 srun no longer takes over
            # the cores of sbatch.
            "srun_args": [
                "--kill-on-bad-exit=1",
                *([f"--cpus-per-task={self.cpus_per_task}"] if self.cpus_per_task else []),
            ],
        }
        # submitit names itself as wckey, which a cluster that keeps these would refuse.
        return {**{key: value for key, value in found.items() if value is not None}, "wckey": None}

    def for_this_machine(self) -> dict[str, Any]:
        """Parameters of submitit's local executor."""
        if self.nodes > 1:
            raise ConfigError(f"--nodes: given {self.nodes}; --executor local has this machine alone")
        if self.setup:
            raise ConfigError("--setup: goes with --executor slurm; give these lines to your shell")
        return {
            "timeout_min": self.minutes,
            "tasks_per_node": self.processes_per_node,
            "gpus_per_node": self.gpus_per_node,
            "signal_delay_s": self.signal_seconds,
            "stderr_to_stdout": True,
        }
