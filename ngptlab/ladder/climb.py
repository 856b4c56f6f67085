"""Train the rungs of a ladder that are missing, each like any other run, and write what they say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from ngptlab.analysis.ladder import Ladder, Mode, Rung, measure
from ngptlab.analysis.ladder_files import write_ladder
from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError, DivergedError
from ngptlab.experiment import train
from ngptlab.ladder.rungs import Planned, plan
from ngptlab.overrides import Overrides
from ngptlab.recipes import Recipe
from ngptlab.train.progress import Reporter

ReporterFactory = Callable[[RunConfig], AbstractContextManager[Reporter]]


def ladder(
    recipe: Recipe,
    *,
    base: str,
    target: str,
    mode: Mode = "cumulative",
    seeds: int = 1,
    out: Path,
    overrides: Overrides | None = None,
    tell: Callable[[str], None] = lambda line: None,
    reporter: ReporterFactory,
) -> Ladder:
    """Train what is missing under out/runs and write out/ladder.json, .csv, .png and .svg.

    A rung that cannot stand, or whose loss runs away, is named with the reason; the others go on.
    Raises:
        LabError: wrong settings or data; finished runs stay and are not trained again.
        Stopped: a signal asked for it; the run under way was saved.
    """
    if seeds < 1:
        raise ConfigError(f"--seeds: given {seeds}; give at least 1, and at least 3 for a claim")
    planned = plan(recipe, base=base, target=target, mode=mode, overrides=overrides or {})
    for rung in planned:
        tell(_announce(rung))
    failed: dict[str, str] = {}
    runs: dict[str, list[Path]] = {rung.label: [] for rung in planned}
    for seed in range(seeds):
        for rung in planned:
            if rung.reason or rung.label in failed:
                continue
            config = _seeded(rung.config, seed)
            try:
                with reporter(config) as teller:
                    run = train(config, out / "runs" / config.run_name, reporter=teller)
                runs[rung.label].append(run.path)
            except DivergedError as error:
                failed[rung.label] = f"diverged with seed {seed}: {error}"
                tell(f"{rung.label}: {failed[rung.label]}")
    climbed = [_climbed(rung, failed.get(rung.label, ""), runs[rung.label]) for rung in planned]
    result = measure(climbed, recipe=recipe.config.name, base=base, target=target, mode=mode)
    write_ladder(result, out)
    return result


def _seeded(config: RunConfig, seed: int) -> RunConfig:
    """Seed n sets both the weights' and the data's, as in a comparison."""
    data = config.data.model_copy(update={"seed": seed})
    return config.model_copy(update={"seed": seed, "data": data})


def _announce(rung: Planned) -> str:
    if rung.reason:
        return f"{rung.label}: left out, {rung.reason}"
    whose = f"that of {rung.lr_of}" if rung.lr_of else "set by an option"
    return f"{rung.label}: {rung.config.arm}, lr {rung.config.optim.lr:.4g} ({whose})"


def _climbed(rung: Planned, failure: str, runs: list[Path]) -> Rung:
    config = rung.config
    return Rung(
        label=rung.label,
        arm=config.arm,
        seams=rung.seams,
        lr=config.optim.lr,
        lr_grid=config.optim.lr_grid,
        lr_of=rung.lr_of,
        reason=rung.reason or failure,
        runs=tuple(runs),
    )
