"""The verb `submit`: a training, a comparison or a study as jobs of Slurm, or on this machine by the same way.

A training or a comparison is one job. A sweep, a ladder or a cooldown study is an array of jobs, a cell each. Its command waits
for them here and writes the results, or goes on with that when it is given again. What is wrong is told here, before anything
waits in a queue for hours.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngptlab.errors import ConfigError, nearest, shown
from ngptlab.method_files.copies import in_place_of
from ngptlab.options.types import count, runs, size
from ngptlab.terminal import one_line, remark, say

if TYPE_CHECKING:
    from ngptlab.config import RunConfig
    from ngptlab.jobs.slurm.resources import Resources

NAME = "submit"
SUMMARY = "Submit training to Slurm, where it goes on by itself when it is preempted or its time is up."
ONE_JOB = ("train", "compare")
ARRAYS = ("sweep", "ladder", "cooldown")
FLAGS = ("--dry-run", "--one-job", "-h", "--help")
Parse = Callable[[Sequence[str]], argparse.Namespace]


def add(submit: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    submit.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="VERB ...",
        help=f"the command to submit, as it is given alone: {', '.join((*ONE_JOB, *ARRAYS))}, then recipe and options",
    )
    submit.add_argument(
        "--executor",
        choices=("slurm", "local"),
        default="slurm",
        help="where jobs go: to Slurm, or by the same way into processes of this machine, where a run that takes longer than "
        "--time goes on five times at most (default: slurm)",
    )
    _add_resources(submit)
    submit.add_argument(
        "--at-once",
        type=runs,
        default=0,
        metavar="K",
        help="most cells of a study that are trained at the same time",
    )
    submit.add_argument(
        "--one-job",
        action="store_true",
        help="train a study in one job on one node, its cells side by side there",
    )
    submit.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, print the script for sbatch, and submit nothing",
    )


def _add_resources(submit: argparse.ArgumentParser) -> None:
    """What a job asks for."""

    def option(name: str, metavar: str, text: str, **how: Any) -> None:
        submit.add_argument(name, metavar=metavar, help=text, **{"default": "", **how})

    option(
        "--time",
        "T",
        "time of a job, as 4:00:00; a run that takes longer is requeued",
        required=True,
        default=None,
    )
    option("--nodes", "N", "nodes of a run (default: 1)", type=count, default=1)
    option(
        "--gpus-per-node",
        "G",
        "GPUs on each node, a process of the run for each (default: none)",
        type=size,
        default=0,
    )
    option(
        "--tasks-per-node",
        "K",
        "processes of a run on each node (default: one a GPU, or one)",
        type=size,
        default=0,
    )
    option("--cpus-per-task", "C", "cores of each process (default: the cluster's)", type=size, default=0)
    option("--memory", "SIZE", "memory of each node, as 64G (default: the cluster's)")
    for name in ("partition", "account", "qos", "constraint"):
        option(f"--{name}", name[0].upper(), f"as sbatch has it: --{name}")
    option(
        "--signal-seconds",
        "S",
        "how long before a job's end it is told to save; two saves must fit in with --checkpoint.asynchronous on (default: 120)",
        type=count,
        default=120,
    )
    for name, metavar, text in (
        ("--setup", "LINE", "a line of shell before the run, as 'module load cuda'"),
        ("--sbatch", "NAME=VALUE", "any other option of sbatch, as mail-type=END"),
    ):
        option(name, metavar, f"{text}; may be repeated", action="append", default=[])


def in_order(arguments: Sequence[str], own: set[str]) -> list[str]:
    """A command line with the options of `submit` before the verb, wherever they stood; what is left is the verb's."""
    ours: list[str] = []
    rest: list[str] = []
    queue = list(arguments[1:])
    while queue:
        word = queue.pop(0)
        option, equals, _ = word.partition("=")
        if option not in own or (word in ("-h", "--help") and rest):
            rest.append(word)
            continue
        ours.append(word)
        if not equals and option not in FLAGS and queue:
            ours.append(queue.pop(0))
    return [arguments[0], *ours, *rest]


def act(options: argparse.Namespace, parse: Parse) -> int:
    """Check the command, then submit it, or print what would be submitted."""
    command = list(options.command)
    known = (*ONE_JOB, *ARRAYS)
    if not command:
        raise ConfigError(
            f"submit: what? Give {', '.join(known)} with its recipe, as submit train demo --time 1:00:00"
        )
    if command[0] not in known:
        raise ConfigError(f"submit: given {shown(command[0])}; {nearest(command[0], known)}")
    resources = _resources(options)
    inner = parse(command)
    if getattr(inner, "plan", False) or getattr(inner, "profile", 0):
        raise ConfigError("submit: --plan and --profile are for commands that are given here")
    if command[0] in ARRAYS:
        return _study(options, command, inner, resources)
    if options.at_once or options.one_job:
        raise ConfigError(f"--at-once, --one-job: go with {', '.join(ARRAYS)}; {command[0]} is one job")
    return (
        _train(options, command, inner, resources)
        if command[0] == "train"
        else _compare(options, command, inner, resources)
    )


def _resources(options: argparse.Namespace) -> Resources:
    from ngptlab.jobs.slurm.resources import Resources, minutes_of

    more = {}
    for text in options.sbatch:
        name, equals, value = text.removeprefix("--").partition("=")
        if not equals or not value:
            raise ConfigError(f"--sbatch: given {shown(text)}; give NAME=VALUE, as mail-type=END")
        more[name] = value
    return Resources(
        minutes=minutes_of(options.time),
        nodes=options.nodes,
        gpus_per_node=options.gpus_per_node,
        tasks_per_node=options.tasks_per_node,
        cpus_per_task=options.cpus_per_task,
        memory=options.memory,
        partition=options.partition,
        account=options.account,
        qos=options.qos,
        constraint=options.constraint,
        signal_seconds=options.signal_seconds,
        setup=tuple(options.setup),
        more=more,
    )


def _train(
    options: argparse.Namespace, command: list[str], inner: argparse.Namespace, resources: Resources
) -> int:
    """One run on all processes of a job."""
    from ngptlab.methods import resolve
    from ngptlab.options import smoke
    from ngptlab.overrides import apply
    from ngptlab.recipes import recipe
    from ngptlab.world.split import check_split
    from ngptlab.world.world import World

    found = smoke.apply(recipe(inner.recipe), inner)
    config = resolve(apply(found.arm(inner.overrides.get("method", found.methods[0])), inner.overrides))
    world = World()
    world.size = resources.processes
    check_split(config, world)
    _check_data(config)
    if inner.out:
        config, _ = in_place_of(config, inner.out)
    out = inner.out or Path("runs") / config.run_name
    _check_free(out, config)
    return _one_job(options, command, out, out.with_name(f"{out.name}-jobs"), resources)


def _compare(
    options: argparse.Namespace, command: list[str], inner: argparse.Namespace, resources: Resources
) -> int:
    """A comparison as a job of one node, which trains its runs there."""
    from ngptlab.jobs.in_turn import plan
    from ngptlab.options import smoke, tuned
    from ngptlab.recipes import recipe
    from ngptlab.studies.target import options as target

    found = smoke.apply(tuned.apply(recipe(inner.recipe), inner), inner)
    target.check(inner)
    methods = inner.methods or found.methods
    for config in plan(found, methods=methods, seeds=inner.seeds, overrides=inner.overrides):
        _check_data(config)
    out = inner.out or Path("out") / found.config.name
    resources = _of_one_process(command[0], resources)
    return _one_job(options, command, out, out.with_name(f"{out.name}-jobs"), resources)


def _study(
    options: argparse.Namespace, command: list[str], inner: argparse.Namespace, resources: Resources
) -> int:
    """A study, whose verb is given another executor."""
    from ngptlab.jobs.slurm.dry import Planned, Seen
    from ngptlab.jobs.slurm.executor import Slurm

    if not options.one_job and (inner.workers or getattr(inner, "stack", "auto") not in ("auto", "off")):
        raise ConfigError(
            "--workers, --stack: each job trains one cell; --at-once says how many run at a time, --one-job makes one of them"
        )
    if not (options.one_job or options.dry_run):
        executor = Slurm(resources=resources, kind=options.executor, at_once=options.at_once)
        return _through(executor, inner)
    if not options.one_job:
        Slurm(resources=resources, kind=options.executor)  # says what is wrong with an array
    resources = _of_one_process(command[0], resources)
    had_ledger = _without_ledger(inner)
    try:
        _through(Planned(), inner)
    except Seen as seen:
        out, cells = seen.out, seen.cells
    if options.one_job:
        return _one_job(options, command, out, out.with_name(f"{out.name}-jobs"), resources)
    from ngptlab.jobs.slurm.executor import FOLDER
    from ngptlab.jobs.slurm.submission import queue

    _print_script(queue(options.executor, resources, out / FOLDER, out.name), cells, options.at_once or cells)
    less = ", less those that the ledger has" if had_ledger else ""
    remark(f"{cells} cells{less}; each job: python -m ngptlab.jobs.worker CONFIG RUN")
    return 0


def _without_ledger(inner: argparse.Namespace) -> bool:
    """Take the ledger away from a study that is only planned, which would lock its folder and copy runs there.

    Raises:
        ConfigError: it is none, which is told all the same.
    """
    from ngptlab.options.ledger import ledger_of

    had = ledger_of(inner) is not None
    inner.ledger = None
    return had


def _through(executor: object, inner: argparse.Namespace) -> int:
    """A study's verb with this executor in place of its own."""
    inner.through = executor
    return int(inner.action(inner))


def _one_job(
    options: argparse.Namespace, command: list[str], out: Path, folder: Path, resources: Resources
) -> int:
    """Submit a command as one job, whose files are in `folder`."""
    from ngptlab.jobs.slurm import submission
    from ngptlab.jobs.slurm.task import Task

    place = submission.queue(options.executor, resources, folder, out.name)
    words = ("ngptlab", *command)
    task = Task(words, str(out.absolute()), signal_seconds=resources.signal_seconds)
    if options.dry_run:
        _print_script(place, 1, 1)
        remark(one_line(f"each of {resources.processes} processes: python -m {shlex.join(words)}"))
        return 0
    place.check()
    submission.check_kind(folder, options.executor, [out.name])
    before = submission.recorded(folder, options.executor).get(out.name)
    if before and not submission.is_over(place.states([before])[before]):
        raise ConfigError(
            f"{out}: job {before} trains there already; wait for it, or end it with `{_end_of(options.executor, before)}`"
        )
    submission.open_folder(folder)
    (job,) = place.submit([task], at_once=1)
    submission.record(folder, {out.name: job}, options.executor)
    say(one_line(f"job:    {job}"))
    say(one_line(f"{'run' if command[0] == 'train' else 'folder'}:".ljust(8) + str(out)))
    say(one_line(f"log:    {folder / job / f'{job}_0_log.out'}"))
    say(one_line(f"watch:  ngptlab watch {shlex.quote(str(out))}"))
    say(f"end:    {_end_of(options.executor, job)}")
    return 0


def _end_of(executor: str, job: str) -> str:
    return f"scancel {job}" if executor == "slurm" else f"kill {job}"


def _print_script(place: object, tasks: int, at_once: int) -> None:
    from ngptlab.jobs.slurm.submission import OnSlurm

    if isinstance(place, OnSlurm):
        say(place.script(tasks, at_once=at_once), end="")
    else:
        say(f"{tasks} job{'s' * (tasks > 1)} on this machine, without a script")


def _of_one_process(verb: str, resources: Resources) -> Resources:
    """The resources for a command that is one process, however many GPUs its node has."""
    if resources.nodes > 1 or resources.tasks_per_node > 1:
        raise ConfigError(
            f"{verb}: trains on one node, and starts its processes itself: given --nodes {resources.nodes}, --tasks-per-node "
            f"{resources.tasks_per_node}; leave both out"
        )
    return dataclasses.replace(resources, tasks_per_node=1)


def _check_data(config: RunConfig) -> None:
    """Tell of data that are missing here. What is there is not read, because a login node is for all."""
    from ngptlab.errors import DataError
    from ngptlab.plan.data import planned_data
    from ngptlab.tracking.sink import check_installed

    check_installed(config.track)
    if missing := planned_data(config).missing:
        raise DataError(missing)


def _check_free(out: Path, config: RunConfig) -> None:
    """Hold the run's folder against the config that is to be trained there."""
    from ngptlab.runs import Run

    if (out / "config.json").exists():
        there = Run(out)
        if there.config.hash != config.hash:
            raise ConfigError(f"{out}: holds another run; give another --out")
        if there.ending.over:
            raise ConfigError(f"{out}: is {there.ending.status} already; nothing is left to submit")
    elif out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: neither empty nor a run directory; give a new folder as --out")
