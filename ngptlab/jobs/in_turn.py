"""Runs of a comparison, one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ngptlab import folders
from ngptlab import methods as all_methods
from ngptlab.config import RunConfig
from ngptlab.data.corpus import open_data
from ngptlab.errors import ConfigError
from ngptlab.experiment import train
from ngptlab.ledger.book import Ledger
from ngptlab.ledger.lend import lent
from ngptlab.overrides import Overrides, apply
from ngptlab.recipes import Recipe
from ngptlab.runs import Run
from ngptlab.train.progress import Reporter

ReporterFactory = Callable[[RunConfig], AbstractContextManager[Reporter]]


def plan(recipe: Recipe, *, methods: Sequence[str], seeds: int, overrides: Overrides) -> list[RunConfig]:
    """The runs of a comparison. Seed n sets both the weights' and the data's seed to n in every arm.

    Seeds begin after those that selected an arm's settings, because the losses of these are biased downwards.

    Raises:
        ConfigError: a method is unknown or named twice, there is no seed, or an override is wrong.
    """
    if seeds < 1:
        raise ConfigError(f"--seeds: given {seeds}; give at least 1, and at least 3 for a claim")
    if len(set(methods)) != len(methods):
        raise ConfigError(f"--methods: given {' '.join(methods)}; name each method once")
    arms = [all_methods.resolve(apply(recipe.arm(method), overrides)) for method in methods]
    return [
        arm.model_copy(update={"seed": seed, "data": arm.data.model_copy(update={"seed": seed})})
        for seed in range(recipe.first_seed, recipe.first_seed + seeds)
        for arm in arms
    ]


def train_one(config: RunConfig, out: Path, reporter: ReporterFactory) -> Run:
    """The finished run of a config below out/runs, trained where it is missing.

    Raises:
        LabError, Stopped: as `compare` does.
    """
    with reporter(config) as tell:
        return train(config, _place(out, config), reporter=tell)


def lending(
    ledger: Ledger | None, configs: Sequence[RunConfig], out: Path, tell: Callable[[str], None]
) -> AbstractContextManager[None]:
    """A context in which runs below out/runs come from the ledger where it has them; trained runs are added to it."""
    places = {_place(out, config): config for config in configs} if ledger else {}
    return lent(ledger, places, digest=lambda config: open_data(config).digest, note=tell)


def _place(out: Path, config: RunConfig) -> Path:
    """The directory of a run. A run to be trained may be no link, because a comparison's folder may be a stranger's."""
    path = out / "runs" / config.run_name
    try:
        folders.make(out)
        folders.own(out / "runs")
        if not (path / "config.json").exists() or not Run(path).done:
            folders.refuse_link(path)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; or give another --out") from None
    return path
