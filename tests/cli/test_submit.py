"""`ngptlab submit` without Slurm and without submitit: what is built, what is refused beforehand, what a job does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from ngptlab.cli import main, parser
from ngptlab.config import RunConfig, blank, flatten
from ngptlab.config.words import short
from ngptlab.errors import ConfigError
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.slurm import executor as executors
from ngptlab.jobs.slurm import submission
from ngptlab.jobs.slurm import task as tasks
from ngptlab.jobs.slurm.executor import Detached, Slurm
from ngptlab.jobs.slurm.resources import Resources, minutes_of
from ngptlab.jobs.slurm.task import Task
from ngptlab.train.stop import StopRequest
from ngptlab.verbs import submit

MakeConfig = Callable[..., RunConfig]
HOUR = ("--time", "1:00:00")


class FakeExecutor:
    """What submitit's executors are to us; notes what it is given."""

    made: list[FakeExecutor]

    def __init__(self, folder: Path, max_num_timeout: int) -> None:
        self.folder, self.parameters, self.submitted = folder, {}, []  # type: ignore[var-annotated]
        FakeExecutor.made.append(self)

    def update_parameters(self, **parameters: Any) -> None:
        self.parameters.update(parameters)

    def submit_array(self, given: list[Task]) -> list[types.SimpleNamespace]:
        self.submitted += given
        names = ["7"] if len(given) == 1 else [f"7_{number}" for number in range(len(given))]
        return [types.SimpleNamespace(job_id=name) for name in names]

    _submitit_command_str = "python -m submitit.core._submit FOLDER"

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        return f"#!/bin/bash\n#SBATCH --time={self.parameters['time']}\nsrun {command}\n"


class FakeDelayed:
    def __init__(self, function: Task) -> None:
        self.function = function


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[FakeExecutor]:
    """submitit and Slurm's programs are there, and squeue knows no job."""
    FakeExecutor.made = []
    module, helpers = types.ModuleType("submitit"), types.ModuleType("submitit.helpers")
    module.SlurmExecutor = module.LocalExecutor = FakeExecutor  # type: ignore[attr-defined]
    helpers.DelayedSubmission = FakeDelayed  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "submitit", module)
    monkeypatch.setitem(sys.modules, "submitit.helpers", helpers)
    monkeypatch.setattr(metadata, "version", lambda name: "1.5.4")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sbatch", "srun", "squeue", "scancel"):
        (programs / name).write_text(f"#!/bin/sh\ncat {tmp_path}/{name}.txt 2>/dev/null || true\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return FakeExecutor.made


def failing(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command line is refused with."""
    assert main(["submit", *words]) == 2
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if line.startswith("ngptlab: ")]
    assert len(lines) == 1 and not told.out, told
    return lines[0]


def test_a_training_is_a_job_of_a_plain_command(
    fake: list[FakeExecutor], tiny: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "demo", "--nodes", "2", "--method", "ngpt", "--gpus-per-node=2", *tiny, "--out", "big"]
    assert (
        main(
            [
                "submit",
                "--partition",
                "long",
                *words,
                "--time",
                "1-12",
                "--memory",
                "64G",
                "--sbatch",
                "mail-type=END",
            ]
        )
        == 0
    )
    (made,) = fake
    (task,) = made.submitted
    assert task.command == ("ngptlab", "train", "demo", "--method", "ngpt", *tiny, "--out", "big")
    assert made.folder == work / "big-jobs" / "%j"
    for name, value in {
        "nodes": 2,
        "ntasks_per_node": 2,
        "gpus_per_node": 2,
        "time": 36 * 60,
        "mem": "64G",
        "partition": "long",
        "signal_delay_s": 120,
        "wckey": None,
        "additional_parameters": {"requeue": True, "mail-type": "END"},
        "srun_args": ["--kill-on-bad-exit=1"],
    }.items():
        assert made.parameters[name] == value
    assert "account" not in made.parameters
    said = capsys.readouterr().out
    for part in ("7\n", "run:    big\n", "big-jobs/7/7_0_log.out", "ngptlab watch big", "scancel 7"):
        assert part in said
    assert not (work / "big").exists(), "the run's folder is the run's"


def test_other_commands_are_a_job_of_themselves(
    fake: list[FakeExecutor], tiny: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A comparison always, a study where asked for. No folder of theirs is made here."""
    compared = ["compare", "demo", "--seeds", "2", *tiny]
    assert main(["submit", *compared, *HOUR, "--executor", "local", "--gpus-per-node", "2"]) == 0
    assert fake[0].parameters["tasks_per_node"] == 1, "the comparison starts processes itself"
    swept = ["sweep", "demo", "--methods", "gpt", "--lrs", "2^-9", "2^-8", "--workers", "4", *tiny]
    assert main(["submit", *swept, *HOUR, "--one-job", "--cpus-per-task", "4"]) == 0
    assert [task.command for made in fake for task in made.submitted] == [
        ("ngptlab", *compared),
        ("ngptlab", *swept),
    ]
    said = capsys.readouterr().out
    assert "end:    kill 7\n" in said and "folder: out/demo\n" in said and "folder: out/demo-sweep\n" in said
    assert sorted(path.name for path in (work / "out").iterdir()) == ["demo-jobs", "demo-sweep-jobs"]


def test_a_run_is_not_submitted_twice(
    fake: list[FakeExecutor], tiny: list[str], work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "demo", *tiny, "--out", "big", *HOUR]
    assert main(["submit", *words]) == 0
    capsys.readouterr()
    (tmp_path / "squeue.txt").write_text("7 PENDING\n")
    assert "job 7 trains there already" in failing(words, capsys)
    (tmp_path / "squeue.txt").write_text("7 FAILED\n")
    assert main(["submit", *words]) == 0
    assert len(fake) == 2


def test_a_job_of_the_other_kind_is_in_the_way(
    fake: list[FakeExecutor], tiny: list[str], work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers of before are Slurm's. A number of Slurm's is no process of this machine."""
    words = ["train", "demo", *tiny, "--out", "big", *HOUR]
    (work / "big-jobs").mkdir()
    (work / "big-jobs" / "jobs.json").write_text('{"big": "7"}')
    (tmp_path / "squeue.txt").write_text("7 RUNNING\n")
    told = failing([*words, "--executor", "local"], capsys)
    assert "job 7 of --executor slurm may be under way; give --executor slurm" in told
    (tmp_path / "squeue.txt").write_text("7 FAILED\n")
    assert main(["submit", *words, "--executor", "local"]) == 0
    assert submission.recorded(work / "big-jobs", "local") == {"big": "7"}
    assert submission.recorded(work / "big-jobs", "slurm") == {}
    capsys.readouterr()
    (tmp_path / "squeue.txt").write_text("7 RUNNING\n")
    assert main(["submit", *words]) == 0, "process 7 is no controller"


def test_a_dry_run_submits_nothing(
    fake: list[FakeExecutor], tiny: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "train", "demo", *tiny, "--out", "big", *HOUR, "--dry-run"]) == 0
    told = capsys.readouterr()
    assert (
        told.out.startswith("#!/bin/bash\n#SBATCH --time=60\n") and "python -m ngptlab train demo" in told.err
    )
    grid = ["sweep", "demo", "--methods", "gpt", "--lrs", "2^-9", "2^-8", *tiny]
    assert main(["submit", *grid, "--out", "many", "--ledger", "runs.jsonl", *HOUR, "--dry-run"]) == 0
    assert (
        "cells, less those that the ledger has" in capsys.readouterr().err
        and fake[-1].parameters["map_count"] > 1
    )
    assert list(work.iterdir()) == [] and not any(made.submitted for made in fake)


REFUSED = {
    "what?": [],
    "did you mean 'sweep'": ["sweeep", "demo"],
    "no recipe": ["train", "dem"],
    "--train.stepps: no such field": ["train", "demo", "--train.stepps", "5"],
    "can't be divided among 3 processes": ["train", "demo", "--nodes", "3"],
    "give at most half of them": ["train", "demo", "--signal-seconds", "3000"],
    "--gpus-per-node: given -1": ["train", "demo", "--gpus-per-node", "-1"],
    "--memory": ["train", "demo", "--memory", "lots"],
    "--sbatch: given": ["train", "demo", "--sbatch", "exclusive"],
    "is set by an option of submit": ["train", "demo", "--sbatch", "signal=KILL"],
    "no control characters": ["train", "demo", "--setup", "a\nb"],
    "compare is one job": ["compare", "demo", "--at-once", "2"],
    "trains on one node": ["compare", "demo", "--nodes", "2"],
    "compare takes several": ["compare", "demo", "--method", "ngpt"],
    "give --seeds N": ["compare", "demo", "--seed", "3"],
    "goes with a target only": ["compare", "demo", "--sigma", "0.1"],
    "so give 1": ["compare", "demo", "--target", "3", "--workers", "2"],
    "--max-seeds: given 1": ["compare", "demo", "--target", "3", "--max-seeds", "1"],
    "a study's job trains one cell": ["sweep", "demo", "--lrs", "2^-9", "--nodes", "2"],
    "--lrs": ["sweep", "demo", "--lrs", "two"],
    "this machine alone": ["train", "demo", "--nodes", "2", "--executor", "local"],
    "--workers, --stack": ["sweep", "demo", "--lrs", "2^-9", "--workers", "2"],
    "goes with --executor slurm": ["train", "demo", "--executor", "local", "--setup", "a"],
    "--plan and --profile": ["sweep", "demo", "--lrs", "2^-9", "--plan"],
    "read % in a path": ["train", "demo", "--out", "100%"],
}


@pytest.mark.parametrize("told", REFUSED)
def test_what_is_wrong_is_told_before_anything_is_submitted(
    told: str, fake: list[FakeExecutor], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in failing([*REFUSED[told], *HOUR], capsys) or told == "no recipe"
    assert not any(made.submitted for made in fake) and not list(work.iterdir())


def test_missing_programs_and_packages_are_told(
    fake: list[FakeExecutor],
    tiny: list[str],
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", "demo", *tiny, "--out", "big", *HOUR]
    monkeypatch.setenv("PATH", "/nowhere")
    assert "no sbatch here" in failing(words, capsys)
    monkeypatch.setattr(submission, "PROC", work / "proc")
    assert "this system has no " in failing([*words, "--executor", "local"], capsys)

    def none(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", none)
    assert "pip install 'ngptlab[slurm]'" in failing(words, capsys)


def test_options_stand_anywhere_and_shadow_no_other() -> None:
    own = parser().options_of("submit")
    assert submit.in_order(["submit", "train", "demo", "--nodes", "2", "--lr", "1", "--dry-run"], own) == [
        *("submit", "--nodes", "2", "--dry-run", "train", "demo", "--lr", "1")
    ]
    assert submit.in_order(["submit", "train", "--help"], own) == ["submit", "train", "--help"]
    fields = {
        f"--{name.replace('_', '-')}" for name in (*short(dict(flatten(blank()))), *dict(flatten(blank())))
    }
    taken = {option for verb in (*submit.ONE_JOB, *submit.ARRAYS) for option in parser().options_of(verb)}
    assert own & (fields | taken) <= {"-h", "--help", "--executor"}


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("30", 30),
        ("0:30", 1),
        ("4:00:00", 240),
        ("1-0", 1440),
        ("1-12", 2160),
        ("2-01:30", 2970),
        ("0-0:0:1", 1),
    ],
)
def test_times_are_read_as_slurm_does(text: str, minutes: int) -> None:
    assert minutes_of(text) == minutes


@pytest.mark.parametrize("text", ["", "0", "4h", "-1", "1:2:3:4", "1-", "999-0", "٣"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--time"):
        minutes_of(text)


# --- what a job does --------------------------------------------------------------------------------------------------

WORDS = """
import os, signal, sys, time
open("env", "w").write(os.environ.get("MARK", ""))
signal.signal(signal.SIGUSR2, lambda *_: sys.exit(140))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
open("session", "w").write(str(os.getsid(0)))
open("begun", "w").close()
time.sleep(60)
"""

SENDS = """
import os, sys, time
while not os.path.exists("begun"):
    time.sleep(0.05)
os.kill(int(sys.argv[1]), int(sys.argv[2]))
"""


@pytest.fixture
def in_job(fake: list[FakeExecutor], work: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Task]:
    """A task whose command is a script, as submitit would call it."""
    monkeypatch.setattr(tasks, "ranks", lambda environment: {})
    monkeypatch.setattr(tasks, "POLL_SECONDS", 0.02)
    monkeypatch.setenv("PYTHONPATH", str(work))
    (work / "words.py").write_text(WORDS)
    numbers = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield lambda **more: Task(
        ("words",), str(work / "run"), signal_seconds=20, environment={"MARK": "here"}, **more
    )
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def told_by(
    task: Task, number: int, work: Path, answer: Callable[[], Any]
) -> tuple[list[Any], int | str | None]:
    """What `answer` gives when the signal comes while the task runs, and the task's exit code."""
    given: list[Any] = []

    def handle(*_: object) -> None:
        given.append(answer())
        raise SystemExit(-1)

    if number == signal.SIGUSR2:
        signal.signal(number, handle)
    child = subprocess.Popen(
        [
            *(sys.executable, "-c", SENDS),
            *(str(os.getpid()), str(int(number))),
        ],
        cwd=work,
    )
    with pytest.raises(SystemExit) as ended:
        task()
    assert child.wait() == 0
    return given, ended.value.code


def test_a_task_saves_and_is_to_be_requeued(in_job: Callable[..., Task], work: Path) -> None:
    task = in_job()
    (made,), code = told_by(task, signal.SIGUSR2, work, task.checkpoint)
    assert code == -1 and task._ended() == 140
    again = made.function
    assert (again.command, again.run, again.idle) == (task.command, task.run, 1), (
        "no step of progress was made"
    )
    assert (work / "env").read_text() == "here" == again.environment["MARK"]


def test_a_task_that_comes_no_further_is_not_requeued_for_ever(
    in_job: Callable[..., Task], work: Path
) -> None:
    task = in_job(idle=tasks.IDLE - 1)

    def asked() -> object:
        with pytest.raises(SystemExit) as ended:
            task.checkpoint()
        return ended.value.code

    assert told_by(task, signal.SIGUSR2, work, asked)[0] == [2]


def test_progress_makes_a_task_begin_counting_anew(in_job: Callable[..., Task], work: Path) -> None:
    task = in_job(idle=tasks.IDLE - 1)

    def asked() -> object:
        (work / "run").mkdir()
        (work / "run" / "metrics.jsonl").write_text('{"step": 3, "loss_nats": 1.0}\n')
        return task.checkpoint()

    assert told_by(task, signal.SIGUSR2, work, asked)[0][0].function.idle == 0


def test_a_stopped_task_waits_for_slurm_to_end_it(
    in_job: Callable[..., Task], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A preempted job that ended by itself would not be requeued."""
    waited: list[float] = []
    sleep = time.sleep
    monkeypatch.setattr(tasks.time, "sleep", lambda s: waited.append(s) if s > 1 else sleep(s))
    assert told_by(in_job(), signal.SIGTERM, work, lambda: None)[1] == 143 and waited == []
    (work / "begun").unlink()
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    assert told_by(in_job(), signal.SIGTERM, work, lambda: None)[1] == 143
    assert waited == [tasks.TO_BE_KILLED_SECONDS]


def test_ctrl_c_reaches_a_command_of_this_machine_once_and_as_sigterm(
    in_job: Callable[..., Task], work: Path
) -> None:
    """The terminal signals its group, in which the command is not."""
    assert told_by(in_job(), signal.SIGINT, work, lambda: None)[1] == 143
    assert (work / "session").read_text() != str(os.getsid(0))


def test_jobs_of_this_machine_are_deaf_to_the_terminal(
    fake: list[FakeExecutor], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = submission.OnThisMachine(resources=Resources(minutes=10), folder=work)
    before = signal.getsignal(signal.SIGINT)
    seen: list[Any] = []

    def submitted(made: FakeExecutor, given: list[Task]) -> list[types.SimpleNamespace]:
        seen.extend(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP))
        return [types.SimpleNamespace(job_id="7")]

    monkeypatch.setattr(FakeExecutor, "submit_array", submitted)
    assert place.submit([Task(("words",), "run")], at_once=1) == ["7"]
    assert seen == [signal.SIG_IGN] * 2 and signal.getsignal(signal.SIGINT) is before


def test_a_task_ends_as_its_command_does(in_job: Callable[..., Task], work: Path) -> None:
    (work / "words.py").write_text("import sys; print('hello'); sys.exit(int(sys.argv[1]))")
    for code in ("0", "2"):
        task = in_job(log=str(work / "logs" / "a.log"))
        task.command = ("words", code)
        if code == "0":
            assert task() == 0
            with pytest.raises(SystemExit):
                task.checkpoint()  # too late: nothing is left to requeue
        else:
            with pytest.raises(SystemExit, match=code):
                task()
        assert (work / "logs" / "a.log").read_text() == "hello\n"


def test_processes_are_told_who_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    job = types.SimpleNamespace(
        num_tasks=4, num_nodes=2, hostnames=["b1", "b2"], global_rank=3, local_rank=1, raw_job_id="41"
    )
    module = types.ModuleType("submitit")
    module.JobEnvironment = lambda: job  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "submitit", module)
    told = tasks.ranks({"SLURM_CPUS_PER_TASK": "6"})
    assert told == {
        **{"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
        **{"MASTER_ADDR": "b1", "MASTER_PORT": "15041", "OMP_NUM_THREADS": "6"},
    }
    assert tasks.ranks({"SLURM_RESTART_COUNT": "1"})["MASTER_PORT"] != "15041"
    job.num_nodes = 1
    assert tasks.ranks({})["MASTER_ADDR"] == "127.0.0.1"
    job.num_tasks = 1
    assert tasks.ranks({}) == {}


# --- the executor -----------------------------------------------------------------------------------------------------


class FakeQueue:
    """Jobs that end as they are told to."""

    def __init__(self) -> None:
        self.submitted: list[Task] = []
        self.state: dict[str, list[str]] = {}
        self.stopped: list[str] = []
        self.on_end: Callable[[Task], None] = lambda task: None

    def check(self) -> None:
        pass

    def submit(self, given: list[Task], *, at_once: int) -> list[str]:
        names = [str(len(self.submitted) + number) for number in range(1, len(given) + 1)]
        self.submitted += given
        for name in names:
            self.state.setdefault(name, ["PENDING", "RUNNING", "COMPLETED"])
        return names

    def states(self, jobs: Any) -> dict[str, str]:
        told = {}
        for job in jobs:
            left = self.state.get(job, ["UNKNOWN"])
            told[job] = left.pop(0) if len(left) > 1 else left[0]
            if submission.is_over(told[job]) and job in self.state:
                self.on_end(self.submitted[int(job) - 1])
        return told

    def stop(self, jobs: Any) -> None:
        self.stopped += jobs


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> FakeQueue:
    made = FakeQueue()
    monkeypatch.setattr(executors.submission, "queue", lambda *args, **named: made)
    return made


@pytest.fixture
def cells(make_config: MakeConfig) -> list[Cell]:
    return [Cell(make_config(seed=seed)) for seed in (1, 2, 3)]


def executor() -> Slurm:
    return Slurm(resources=Resources(minutes=10), poll_seconds=0.0, quiet=True)


def finish(task: Task) -> None:
    """Train the cell of a task here."""
    from ngptlab.config import load
    from ngptlab.experiment import train

    train(load(Path(task.command[1])), Path(task.command[2]))


def test_cells_are_trained_by_jobs_and_failures_are_told(
    queue: FakeQueue, cells: list[Cell], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = work / "out"
    out.mkdir()

    def end(task: Task) -> None:
        if task is queue.submitted[1]:
            Path(task.log).write_text(
                "note: warning: step 7: a spike\nngptlab: something is wrong; mend it\n"
            )
        else:
            finish(task)

    queue.on_end = end
    queue.state["2"] = ["PENDING", "OUT_OF_MEMORY"]
    failures = replace(executor(), quiet=False).train(cells, out, StopRequest())
    assert "seed 2: warning: step 7: a spike" in capsys.readouterr().err, "nobody else reads the job's log"
    assert {task.environment["NGPTLAB_RUNS_AT_ONCE"] for task in queue.submitted} == {"not known"}
    assert failures == {cells[1].config.hash: "job 2 (out_of_memory): something is wrong; mend it"}
    assert submission.recorded(out / "slurm", "slurm") == {
        cell.config.hash: str(n) for n, cell in enumerate(cells, 1)
    }
    queue.state["4"] = ["COMPLETED"]
    queue.on_end = finish
    assert executor().train(cells, out, StopRequest()) == {}, "the same command trains what is missing"
    assert len(queue.submitted) == 4 and queue.submitted[3].run == str(run_of(out, cells[1]))


def test_a_shared_disk_may_show_a_run_late(
    queue: FakeQueue, cells: list[Cell], work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, looks = work / "out", []
    out.mkdir()
    queue.state["1"] = ["COMPLETED"]

    def late(task: Task) -> None:
        looks.append(task)
        if len(looks) == 3:
            finish(task)

    queue.on_end = late
    assert executor().train(cells[:1], out, StopRequest()) == {}
    monkeypatch.setattr(executors, "SEEN_SECONDS", 0.0)
    queue.state["2"] = ["COMPLETED"]
    failures = executor().train(cells[1:2], out, StopRequest())
    assert failures == {cells[1].config.hash: "job 2 (completed): it wrote no log; see those in slurm/"}


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("note: warning: slow\n", "it said nothing of an end; see the logs in slurm/"),
        ("", "it said nothing of an end; see the logs in slurm/"),
        (None, "it wrote no log; see those in slurm/"),
        ("note: warning: slow\nngptlab: bad\n", "bad"),
    ],
)
def test_a_killed_cell_is_not_said_to_have_ended_well(log: str | None, words: str, work: Path) -> None:
    if log is not None:
        (work / "a.log").write_text(log)
    assert executors._last_words(work / "a.log") == words


def test_a_stopped_command_finds_its_jobs_again(queue: FakeQueue, cells: list[Cell], work: Path) -> None:
    out, request = work / "out", StopRequest()
    out.mkdir()
    for number in "123":
        queue.state[number] = ["RUNNING"]
    states = queue.states

    def stop(jobs: Any) -> dict[str, str]:
        request.signal_number = signal.SIGINT if queue.submitted else None
        return states(jobs)

    queue.states = stop  # type: ignore[method-assign]
    with pytest.raises(
        Detached, match=r"0 of 3 cells finished; jobs 1 2 3 go on without it, and `scancel 1 2 3` ends them"
    ):
        executor().train(cells, out, request)
    assert queue.stopped == []
    queue.states = states  # type: ignore[method-assign]
    for number in "123":
        queue.state[number] = ["RUNNING", "COMPLETED"]
    queue.on_end = finish
    assert executor().train(cells, out, StopRequest()) == {}
    assert len(queue.submitted) == 3, "nothing was submitted twice"


def test_a_damaged_record_of_jobs_is_none(work: Path) -> None:
    for text in ("{", "[]", json.dumps({"a": 1, "b": "1; rm", "c": "3_4"})):
        (work / submission.JOBS).write_text(text)
        assert submission.recorded(work, "slurm") in ({}, {"c": "3_4"})
