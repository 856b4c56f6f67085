"""Train the missing rungs of a ladder, each like any other run, and write the ladder's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ngptlab.config import RunConfig
from ngptlab.config.method_name import stem
from ngptlab.errors import ConfigError
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.executor import Executor
from ngptlab.jobs.local import Local, studying
from ngptlab.jobs.outcome import outcome
from ngptlab.ledger.book import Ledger
from ngptlab.overrides import Overrides
from ngptlab.recipes import Recipe
from ngptlab.studies.ladder.files import write_ladder
from ngptlab.studies.ladder.numbers import Ladder, Mode, Rung, measure
from ngptlab.studies.ladder.plan import Planned, plan

LOCAL = Local()


@dataclass(frozen=True)
class Attempt(Cell):
    """A run of a rung, with one seed."""

    rung: str = ""
    """Label of the rung."""

    @property
    def title(self) -> str:
        """The run's place in the ladder, in words."""
        return f"{self.rung} seed {self.config.seed}"


def ladder(
    recipe: Recipe,
    *,
    base: str,
    target: str,
    mode: Mode = "cumulative",
    seeds: int = 1,
    out: Path,
    executor: Executor = LOCAL,
    ledger: Ledger | None = None,
    overrides: Overrides | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[Ladder, int]:
    """Train what is missing under out/runs; write out/ladder.json, .csv, .png and .svg.

    A rung that can't be trained, or of which any run diverges or fails, is named with the reason; the others go on. Returns
    the numbers, and how many runs failed (one that diverged is a result).

    Raises:
        LabError: wrong settings or data; finished runs stay and are not trained again.
        SweepStopped: a signal asked for it; the runs under way were saved.
    """
    if seeds < 1:
        raise ConfigError(f"--seeds: given {seeds}; give at least 1, and at least 3 for a claim")
    planned = plan(recipe, base=base, target=target, mode=mode, overrides=overrides or {})
    for rung in planned:
        tell(_announce(rung))
    attempts = attempts_of(planned, recipe, seeds)
    with studying(attempts, out, executor=executor, ledger=ledger, tell=tell) as request:
        failures = executor.train(attempts, out, request)
    climbed = [
        _with_runs(rung, [a for a in attempts if a.rung == rung.label], out, failures) for rung in planned
    ]
    result = measure(climbed, recipe=recipe.config.name, base=stem(base), target=stem(target), mode=mode)
    write_ladder(result, out)
    return result, len(failures)


def attempts_of(planned: Sequence[Planned], recipe: Recipe, seeds: int) -> list[Attempt]:
    """The runs of a ladder, seed by seed, so that every rung has its first one early."""
    return [
        Attempt(_seeded(rung.config, seed), rung=rung.label)
        for seed in range(recipe.first_seed, recipe.first_seed + seeds)
        for rung in planned
        if not rung.reason
    ]


def _seeded(config: RunConfig, seed: int) -> RunConfig:
    """The rung's config with seed n for both weights and data, as in a comparison."""
    data = config.data.model_copy(update={"seed": seed})
    return config.model_copy(update={"seed": seed, "data": data})


def _announce(rung: Planned) -> str:
    if rung.reason:
        return f"{rung.label}: left out, {rung.reason}"
    whose = f"that of {stem(rung.lr_of)}" if rung.lr_of else "set by an option"
    return f"{rung.label}: {rung.config.arm}, lr {rung.config.optim.lr:.4g} ({whose})"


def _with_runs(rung: Planned, attempts: Sequence[Attempt], out: Path, failures: Mapping[str, str]) -> Rung:
    """The rung with its finished runs, or with the reasons why it has none, read from their directories."""
    runs, reasons = [], [rung.reason] if rung.reason else []
    for attempt in attempts:
        ended = outcome(attempt, out, failures)
        if ended.status == "done":
            runs.append(run_of(out, attempt))
        else:
            reasons.append(f"{ended.status} with seed {attempt.config.seed}: {ended.reason}")
    return Rung(
        label=rung.label,
        arm=rung.config.arm,
        seams=rung.seams,
        lr=rung.config.optim.lr,
        lr_of=stem(rung.lr_of),
        reason="; ".join(reasons),
        runs=tuple(runs),
    )
