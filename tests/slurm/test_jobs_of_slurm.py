"""Jobs of a real Slurm on this machine: a run to its end; one that is signalled, preempted, requeued or out of time; a study."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from ngptlab import methods
from ngptlab.config import RunConfig, dump
from ngptlab.experiment import train
from ngptlab.runs import Run
from slurm_cluster import Cluster, cluster, missing

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]

MakeConfig = Callable[..., RunConfig]
Outcome = Callable[[Path], dict[str, bytes]]
ROOT = Path(methods.__file__).parents[2]
STEPS = 40
LONG = 600
"""Steps that take a second at least."""


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if why := missing():
        pytest.skip(why)
    if find_spec("submitit") is None:
        pytest.skip("the extra `slurm` is not installed")
    with cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made


@pytest.fixture
def environment(slurm: Cluster) -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | slurm.environment | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


Submit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def submit(environment: dict[str, str], work: Path) -> Submit:
    """`ngptlab submit`, in a process of its own."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ngptlab", "submit", *words],
            env=environment,
            cwd=work,
            capture_output=True,
            text=True,
            timeout=400,
        )

    return run


def job_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    found = re.search(r"^job: +(\d+)$", done.stdout, re.MULTILINE)
    assert found, done.stdout
    return found[1]


def written(make_config: MakeConfig, work: Path, **sections: dict[str, object]) -> tuple[RunConfig, str]:
    config = make_config(
        **{"train": {"steps": STEPS}, "checkpoint": {"every": 50}, "eval": {"every": 300}} | sections
    )
    (work / "config.json").write_text(dump(config))
    return config, str(work / "config.json")


def halves(config: RunConfig) -> RunConfig:
    """The config as one process computes what two do: in micro-batches of half a batch."""
    device = config.device.model_copy(update={"micro_batch": config.train.batch_size // 2})
    return config.model_copy(update={"device": device})


def wait_for(run: Path, steps: int, slurm: Cluster) -> None:
    metrics, until = run / "metrics.jsonl", time.monotonic() + 300
    while not metrics.exists() or len(metrics.read_bytes().splitlines()) < steps:
        assert time.monotonic() < until, slurm.logs()
        time.sleep(0.1)


def log_of(run: Path, job: str) -> str:
    return (run.with_name(f"{run.name}-jobs") / job / f"{job}_0_log.out").read_text()


def test_a_run_of_two_processes_has_the_bytes_of_a_direct_one(
    slurm: Cluster, submit: Submit, make_config: MakeConfig, outcome: Outcome, work: Path
) -> None:
    config, path = written(make_config, work)
    job = job_of(submit("train", path, "--out", "run", "--tasks-per-node", "2", "--time", "10"))
    assert slurm.wait(job, "COMPLETED", "FAILED") == "COMPLETED", log_of(work / "run", job)
    assert json.loads((work / "run" / "env.json").read_text())["processes"] == 2
    assert outcome(work / "run") == outcome(train(halves(config), work / "straight").path)
    again = submit("train", path, "--out", "run", "--time", "10")
    assert again.returncode == 2 and "nothing is left to submit" in again.stderr


@pytest.mark.parametrize("how", ["signalled", "requeued", "preempted", "two signalled"])
def test_a_run_that_is_stopped_goes_on_by_itself(
    how: str,
    slurm: Cluster,
    submit: Submit,
    make_config: MakeConfig,
    outcome: Outcome,
    work: Path,
) -> None:
    """Alone, or with a second process, which Slurm's signal reaches as well."""
    config, path = written(make_config, work, train={"steps": LONG})
    two = how == "two signalled"
    more = ["--tasks-per-node", "2"] if two else []
    job = job_of(submit("train", path, "--out", "run", "--time", "10", "--partition", "low", *more))
    wait_for(work / "run", 60, slurm)
    if "signalled" in how:
        slurm.ask("scancel", "--signal=USR2", job)
    elif how == "requeued":
        slurm.ask("scontrol", "requeue", job)
    else:
        (work / "first.sh").write_text("#!/bin/bash\nsleep 2\n")
        slurm.ask(
            "sbatch", "--partition=high", "--ntasks=2", f"--output={work}/first.out", str(work / "first.sh")
        )
    assert slurm.wait(job, "COMPLETED", "FAILED", "CANCELLED") == "COMPLETED", log_of(work / "run", job)
    assert slurm.about(job)["Restarts"] == "1"
    assert outcome(work / "run") == outcome(train(halves(config) if two else config, work / "straight").path)


def test_a_run_longer_than_its_time_goes_on(
    slurm: Cluster, submit: Submit, make_config: MakeConfig, work: Path
) -> None:
    """Slurm ends a job of two minutes, and may send its signal a minute early; the run has steps for more."""
    _, path = written(
        make_config, work, train={"steps": 10**6}, eval={"every": 10**6}, checkpoint={"every": 10**5}
    )
    job = job_of(submit("train", path, "--out", "run", "--time", "2", "--signal-seconds", "30"))
    twice = submit("train", path, "--out", "run", "--time", "10")
    assert twice.returncode == 2 and f"job {job} trains there already" in twice.stderr
    until = time.monotonic() + 300
    while slurm.about(job)["Restarts"] == "0":
        assert time.monotonic() < until and slurm.state(job) != "TIMEOUT", log_of(work / "run", job)
        time.sleep(1)
    saved = len((work / "run" / "metrics.jsonl").read_bytes().splitlines())
    slurm.wait(job, "RUNNING")
    wait_for(work / "run", saved + 20, slurm)
    slurm.ask("scancel", job)
    assert slurm.wait(job, "CANCELLED") == "CANCELLED"
    steps = [json.loads(line)["step"] for line in (work / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, len(steps) + 1)) and Run(work / "run").ending.status == "stopped"


def test_a_run_that_fails_is_not_begun_again(
    slurm: Cluster, submit: Submit, make_config: MakeConfig, work: Path
) -> None:
    _, path = written(make_config, work, train={"steps": LONG})
    (work / "run").mkdir()
    job = job_of(submit("train", path, "--out", "run", "--time", "10"))
    (work / "run" / "something").write_text("that came meanwhile")
    assert slurm.wait(job, "COMPLETED", "FAILED") == "FAILED"
    assert slurm.about(job)["Restarts"] == "0" and slurm.about(job)["ExitCode"] == "2:0"
    assert "ngptlab: run: neither empty nor a run directory" in log_of(work / "run", job)


def table_of(folder: Path) -> list[dict[str, str]]:
    """A sweep's rows, without the time that they took."""
    with (folder / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 and all(row["status"] == "done" and float(row.pop("seconds")) > 0 for row in rows)
    return rows


def test_a_sweep_as_an_array_has_the_table_of_a_local_one(
    slurm: Cluster, submit: Submit, tiny: list[str], environment: dict[str, str], work: Path
) -> None:
    """Its command is stopped while its jobs are under way, and finds them again. A cell that fails is told of."""
    words = ["sweep", "demo", "--methods", "gpt", "--lrs", "2^-9", "2^-8", "2^-7", *tiny]
    words[words.index("--train.steps") + 1] = "20"
    command = [sys.executable, "-m", "ngptlab"]
    more = ["--out", "array", "--time", "10", "--at-once", "2"]
    first = subprocess.Popen(
        [*command, "submit", *words, *more], env=environment, cwd=work, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 120
    while not (work / "array" / "slurm" / "jobs.json").exists():
        assert time.monotonic() < until and first.poll() is None, first.communicate()
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    _, told = first.communicate(timeout=60)
    assert first.returncode == 130 and "go on without it" in told, told
    noted = (work / "array" / "slurm" / "jobs.json").read_bytes()
    again = submit(*words, *more)
    assert again.returncode == 0, again.stderr
    assert "of an earlier command are under way" in again.stderr or "submitted" not in again.stderr
    assert (work / "array" / "slurm" / "jobs.json").read_bytes() == noted, "nothing was submitted twice"
    subprocess.run(
        [*command, *words, "--out", "local", "--stack", "off"],
        env=environment,
        cwd=work,
        check=True,
        timeout=400,
    )
    assert table_of(work / "array") == table_of(work / "local")
