"""What verbs that train share."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError

if TYPE_CHECKING:
    from ngptlab.train.progress import Reporter


def no_seeds(options: argparse.Namespace) -> None:
    """Refuse seeds as fields of the config, because a verb that trains several seeds sets them itself."""
    if {"seed", "data.seed"} & options.overrides.keys():
        raise ConfigError("--seed, --data.seed: this verb sets both; give --seeds N for seeds 0 .. N-1")


def console_reporter(config: RunConfig) -> AbstractContextManager[Reporter]:
    """Progress of one run, under its arm's name."""
    from ngptlab.train.progress import ConsoleReporter

    return ConsoleReporter(f"{config.arm} seed {config.seed}", config.train.steps)
