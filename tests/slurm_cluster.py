"""A Slurm of one node for tests: munged, slurmctld and slurmd on ports and in folders of their own, ended with the block.

Debian's packages `slurm-wlm` and `munge` have the programs. Two partitions: `low` is preempted by `high`, with requeuing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CPUS = 2
GRACE_SECONDS = 15
"""How long a preempted job may save."""
PATIENCE_SECONDS = 300.0

CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={daemon_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=30
MinJobAge=600
InactiveLimit=0
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime={grace}
PartitionName=high Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str:
    """Why no Slurm can be started here; empty where one can."""
    found = [name for name in PROGRAMS if program(name) is None]
    if found:
        return f"{', '.join(found)}: not installed (apt-get install slurm-wlm munge)"
    return "" if os.geteuid() == 0 else "slurmd starts tasks as root only"


def program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


@dataclass
class Cluster:
    """The Slurm under way."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def ask(self, *command: str) -> str:
        """What one of Slurm's programs prints."""
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def state(self, job: str) -> str:
        """A job's state, as PENDING, RUNNING or COMPLETED."""
        return self.ask("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job}").strip()

    def about(self, job: str) -> dict[str, str]:
        """What `scontrol` says of a job, as {"Restarts": "1"}."""
        words = self.ask("scontrol", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job: str, *states: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait until a job has one of these states."""
        until = time.monotonic() + seconds
        while (state := self.state(job)) not in states:
            assert time.monotonic() < until, (job, state, self.logs())
            time.sleep(0.5)
        return state

    def logs(self) -> str:
        """The ends of the daemons' logs, for a test that failed."""
        return "\n".join(
            f"{path.name}:\n{path.read_text(errors='replace')[-3000:]}"
            for path in (*self.folder.glob("*.log"), *self.folder.glob("*.out"))
        )


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """Start it, and wait until its node takes jobs."""
    host = socket.gethostname().split(".")[0]
    folder.chmod(0o755)  # munge wants its socket to be in reach of all
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    made = Cluster(folder, {"SLURM_CONF": str(folder / "slurm.conf")})
    text = CONF.format(
        host=host,
        folder=folder,
        cpus=CPUS,
        grace=GRACE_SECONDS,
        controller_port=free_port(),
        daemon_port=free_port(),
    )
    (folder / "slurm.conf").write_text(text)
    environment = os.environ | made.environment
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, *options: str) -> None:
        with (folder / f"{name}.out").open("wb") as out:
            found = program(name)
            assert found
            started.append(
                subprocess.Popen([found, *options], env=environment, stdout=out, stderr=out, cwd=folder)
            )

    try:
        key = folder / "munge.key"
        subprocess.run([str(program("mungekey")), "--create", f"--keyfile={key}"], check=True)
        start(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--socket={folder}/munge.socket",
            f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munged.seed",
        )
        _until(lambda: (folder / "munge.socket").exists(), "munged", made)
        start("slurmctld", "-D", "-c")
        start("slurmd", "-D", "-N", host)
        _until(lambda: _idle(made), "the node", made)
        yield made
    finally:
        if (folder / "slurmd.out").exists():
            _end_jobs(made)
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
        for process in reversed(started):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _end_jobs(made: Cluster) -> None:
    """Nothing of a test that failed may train on: slurmd leaves tasks alone when it ends."""
    environment = os.environ | made.environment
    subprocess.run(["scancel", "--signal=KILL", "--full", "--me"], env=environment, capture_output=True)
    subprocess.run(["scancel", "--me"], env=environment, capture_output=True)
    until = time.monotonic() + 40
    while time.monotonic() < until:
        done = subprocess.run(
            ["squeue", "--noheader", "--me"], env=environment, capture_output=True, text=True
        )
        if not done.stdout.strip():
            return
        time.sleep(0.5)


def _idle(made: Cluster) -> bool:
    done = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"],
        env=os.environ | made.environment,
        capture_output=True,
        text=True,
    )
    return "idle" in done.stdout


def _until(holds: object, what: str, made: Cluster) -> None:
    assert callable(holds)
    until = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < until, f"{what} did not start:\n{made.logs()}"
        time.sleep(0.3)
