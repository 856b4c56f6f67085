"""Train the missing trunks, then their branches, each like any other run, and write the study's numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.folders import own
from ngptlab.jobs.cell import run_of
from ngptlab.jobs.executor import Executor
from ngptlab.jobs.local import Local, studying
from ngptlab.jobs.outcome import Outcome, outcome
from ngptlab.ledger.book import Ledger
from ngptlab.nn.structure import AsScheduled, WholeContext
from ngptlab.studies.cooldown.files import write_study
from ngptlab.studies.cooldown.numbers import Leg as Ran
from ngptlab.studies.cooldown.numbers import Study, measure
from ngptlab.studies.cooldown.plan import Design, Leg, Trunk, plan
from ngptlab.train.fork import fork

Tell = Callable[[str], None]
LOCAL = Local()


def cooldown(
    arms: Sequence[RunConfig],
    design: Design,
    *,
    out: Path,
    executor: Executor = LOCAL,
    ledger: Ledger | None = None,
    tell: Tell = lambda line: None,
) -> tuple[Study, int]:
    """Train what is missing under out/runs; write cooldown.json, .csv, .png and .svg into `out`.

    The first arm is the baseline. A run that diverges or fails is named with the reason; the others go on. Returns the
    numbers, and how many runs failed (one that diverged is a result).

    Raises:
        LabError: wrong settings or data; finished runs stay and are not trained again.
        SweepStopped: a signal asked for it; the runs under way were saved.
    """
    trunks = plan(arms, design)
    for trunk in trunks[: len(arms)]:
        tell(_announce(trunk))
    legs = [leg for trunk in trunks for leg in (trunk.leg, *trunk.branches)]
    branches = {run_of(out, trunk.leg): [run_of(out, leg) for leg in trunk.branches] for trunk in trunks}

    with studying(legs, out, executor=executor, ledger=ledger, kept_for=branches, tell=tell) as request:
        failures = executor.train([trunk.leg for trunk in trunks], out, request)
        whole = [trunk for trunk in trunks if trunk.leg.config.hash not in failures]
        for trunk in whole:
            _branch_off(trunk, out, tell)
        failures |= executor.train([leg for trunk in whole for leg in trunk.branches], out, request)
    ran = [
        _with_outcome(leg, trunk, out, failures) for trunk in trunks for leg in (trunk.leg, *trunk.branches)
    ]
    study = measure(ran, name=arms[0].name)
    write_study(study, out)
    return study, sum(leg.status == "failed" for leg in ran)


def _announce(trunk: Trunk) -> str:
    config = trunk.leg.config
    starts = sorted({leg.start for leg in trunk.branches})
    return (
        f"{config.arm}: lr {config.optim.lr:.4g}, warm-up {config.schedule.warmup_steps}, trunk of {config.train.steps} "
        f"steps, {len(trunk.branches)} branches from {', '.join(map(str, starts))}"
    )


def _branch_off(trunk: Trunk, out: Path, tell: Tell) -> None:
    """Start every branch that has not begun from the trunk's checkpoint."""
    source = run_of(out, trunk.leg)
    for leg in trunk.branches:
        path = run_of(out, leg)
        if path.exists() or not source.exists():
            continue
        if why := _begins_anew(leg, trunk):
            tell(f"{leg.title}: starts from its beginning, because {why}")
            continue
        own(path.parent)
        step = fork(source, leg.config, path, warn=tell)
        if step < leg.start:
            tell(f"{leg.title}: leaves the trunk at step {step}, which has no checkpoint at {leg.start}")


def own_steps(leg: Leg, trunk: Trunk) -> int:
    """The steps that a branch trains itself: those after its beginning, which it has from the trunk, or all."""
    return leg.config.train.steps - (0 if _begins_anew(leg, trunk) else leg.start)


def _begins_anew(leg: Leg, trunk: Trunk) -> str:
    """Why the branch is another run than its trunk from the first update on, in words; else ''."""
    config = leg.config
    if config.train.non_finite == "rewind" and config.checkpoint.at != trunk.leg.config.checkpoint.at:
        return "with train.non_finite rewind it may go back to its checkpoints, and the trunk saves at other steps"
    part = _follows_length(leg, trunk)
    return f"the method's {part} follows the run's length" if part else ""


def _follows_length(leg: Leg, trunk: Trunk) -> str:
    """A seam of the method by which the branch, if shorter than the trunk, has other updates from the first one on; else ''."""
    config = leg.config
    if config.train.steps == trunk.leg.config.train.steps:
        return ""
    parts = methods.load(config.method, config.seams.lenders)
    changing = {"context": WholeContext(), "schedule": AsScheduled()}
    return next((name for name, usual in changing.items() if getattr(parts, name) != usual), "")


def _with_outcome(leg: Leg, trunk: Trunk, out: Path, failures: dict[str, str]) -> Ran:
    """The run with its outcome, read from its directory."""
    ended = outcome(leg, out, failures)
    if leg is not trunk.leg and ended.status == "waiting":
        why = f"its trunk failed: {failures.get(trunk.leg.config.hash, 'no run')}"
        ended = Outcome(status="failed", reason=why)
    return Ran(
        config=leg.config,
        frac=leg.frac,
        shape=leg.shape,
        start=leg.start,
        path=run_of(out, leg) if ended.status == "done" else None,
        status=ended.status,
        reason=ended.reason,
    )
