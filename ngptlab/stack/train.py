"""Runs trained as one stack: each in its own directory, as `experiment.train` would leave it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError, LabError
from ngptlab.experiment import (
    Setting,
    begin,
    check_memory,
    conclude,
    open_batches,
    open_setting,
    trainer_of,
)
from ngptlab.initial_model import initial_model
from ngptlab.runs import Run
from ngptlab.stack.stackable import check_stackable
from ngptlab.stack.trainer import StackTrainer
from ngptlab.tracking.tracker_process import TrackerProcess
from ngptlab.train.background import Background
from ngptlab.train.progress import WARNING, Reporter, Silent
from ngptlab.train.stop import Stopped, StopRequest, listen
from ngptlab.train.trainer import StepBatches, Trainer
from ngptlab.whole import check_finished


def train(jobs: Sequence[tuple[RunConfig, Path]], *, reporter: Reporter | None = None) -> None:
    """Train configs to their end, each in its run directory; finished runs are left alone, interrupted ones go on.

    What goes wrong in one run, divergence too, is in its summary and stops no other. A run whose directory can't be
    opened is named through the reporter and left as it is.

    Raises:
        LabError: wrong settings or data, common to all.
        Stopped: SIGINT or SIGTERM asked for it; every run was saved.
    """
    reporter = reporter or Silent()
    configs = [methods.resolve(config) for config, _ in jobs]
    check_stackable(configs)
    optimizer = methods.load(configs[0].method, configs[0].seams.lenders).optimizer
    if not optimizer.build(configs[0].model).adam_only:
        raise ConfigError(
            f"stack: it has AdamW alone, and the optimizer here is {optimizer}; train the runs one by one"
        )
    check_memory(configs[0], runs=len(configs))
    setting = open_setting(configs[0])
    failed: list[Trainer] = []

    def fail(trainer: Trainer, error: LabError) -> None:
        failed.append(trainer)
        trainer.run.fail(error)

    with ExitStack() as held, listen() as request:
        places = [path for _, path in jobs]
        trainers = _open(configs, places, setting, held, request, reporter)
        try:
            for trainer in StackTrainer(trainers, fail).fit():
                try:
                    conclude(trainer, setting)
                except LabError as error:
                    fail(trainer, error)
        except Stopped as stopped:
            for trainer in trainers:
                if trainer not in failed:
                    trainer.run.stop(str(stopped), stopped.step)
            raise
        if request.signal_number is not None:
            raise Stopped(request.signal_number, configs[0].train.steps)


def _open(
    configs: Sequence[RunConfig],
    places: Sequence[Path],
    setting: Setting,
    held: ExitStack,
    request: StopRequest,
    reporter: Reporter,
) -> list[Trainer]:
    """A trainer for each run that is not done and can be opened, its directory and its tracker held by `held`."""
    batches: dict[int, StepBatches] = {}
    trainers: list[Trainer] = []
    trackers: list[TrackerProcess] = []
    for config, path in zip(configs, places, strict=True):
        own = _Named(reporter, path.name)
        try:
            run = Run.open(path, config)
            if run.done:
                check_finished(run)
                continue
            held.enter_context(run.lock())
            if run.done:  # another process has just finished it
                check_finished(run)
                continue
            begin(run, setting, own, stacked=len(places))
            tracker = held.enter_context(TrackerProcess(config.track, run, own.note))
            tracker.start()
            trackers.append(tracker)
            if config.data.seed not in batches:
                batches[config.data.seed] = open_batches(config, setting.corpus)
            order, model = batches[config.data.seed], initial_model(config)
            background = held.enter_context(Background())
            trainers.append(trainer_of(config, run, setting, model, order, own, request, background))
        except LabError as error:
            own.note(f"{WARNING}{error}")  # the others go on, and whoever reads their notes hears of warnings
    for tracker in trackers:  # all hear of the end before the first is waited for
        held.callback(tracker.hang_up)
    return trainers


class _Named(Silent):
    """Notes of one run among several, by its name."""

    def __init__(self, reporter: Reporter, name: str) -> None:
        self.reporter, self.name = reporter, name

    def note(self, text: str) -> None:
        self.reporter.note(f"{self.name}: {text}")
