"""What verbs that train share."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError
from ngptlab.options.methods import Methods
from ngptlab.options.types import runs
from ngptlab.world.launched import launched

if TYPE_CHECKING:
    from ngptlab.train.progress import Reporter


def add_seeds(parser: argparse.ArgumentParser, of: str) -> None:
    """Give a verb's parser the option that says how many runs there are of each `of`."""
    parser.add_argument(
        "--seeds", type=runs, default=1, metavar="N", help=f"runs of each {of} (default: 1; a claim needs 3)"
    )


def add_workers(parser: argparse.ArgumentParser, unless: str = "with a GPU 1") -> None:
    """Give a verb's parser the option that says how many runs are trained at once; `unless`: where it is not one a core."""
    parser.add_argument(
        "--workers",
        type=runs,
        default=0,
        metavar="K",
        help=f"runs trained at once, each on cores/K threads (default, and with 0: one a core; {unless})",
    )


def add_methods(parser: argparse.ArgumentParser) -> None:
    """Give a verb's parser the option that names the methods."""
    parser.add_argument(
        "--methods",
        action=Methods,
        nargs="+",
        default=[],
        metavar="M",
        help="methods, the baseline first: names, or paths of files (default: the recipe's)",
    )


def no_seeds(options: argparse.Namespace) -> None:
    """Refuse seeds as fields of the config, because a verb that trains several seeds sets them itself."""
    if {"seed", "data.seed"} & options.overrides.keys():
        raise ConfigError("--seed, --data.seed: this verb sets both; give --seeds N")


def console_reporter(config: RunConfig) -> AbstractContextManager[Reporter]:
    """Progress of one run, under its arm's name; of several processes that train it, the first one tells."""
    from ngptlab.train.progress import ConsoleReporter, Silent

    if launched().rank:
        return nullcontext(Silent())
    return ConsoleReporter(f"{config.arm} seed {config.seed}", config.train.steps)
