"""Options of `compare` for a target loss."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ngptlab.errors import ConfigError
from ngptlab.options import ledger, tuned
from ngptlab.options.methods import Methods
from ngptlab.options.runs import console_reporter, no_seeds
from ngptlab.options.types import positive, runs
from ngptlab.recipes import Recipe
from ngptlab.terminal import remark

if TYPE_CHECKING:
    from ngptlab.studies.target.rule import Rule

MAX_SEEDS = 8
SIGNIFICANCE = 0.01


def add(compare: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    group = compare.add_argument_group(
        "a target",
        "Which methods reach a loss, at what cost? Seeds 0, 1, 2 ... are added until each method is decided. A run counts by its "
        "final validation loss, after its cooldown; costs are those of whole runs at the length given.",
    )
    group.add_argument(
        "--target",
        action=Methods,
        metavar="LOSS|METHOD",
        help="a final validation loss in nats, or a method whose mean loss, over the same seeds, is the target",
    )
    group.add_argument(
        "--max-seeds",
        type=runs,
        metavar="N",
        help=f"most runs of each method (default: {MAX_SEEDS}; at least 2 without --sigma)",
    )
    group.add_argument(
        "--significance",
        type=positive,
        metavar="P",
        help="chance of a wrong 'reached', and of a wrong 'not reached', at most, for each method, by one-sided tests (default: "
        f"{SIGNIFICANCE:g}). Looking after every seed takes chance as often: each look has an equal share of P "
        "(Bonferroni), P/(N-1), or P/N with --sigma. So fix N beforehand",
    )
    group.add_argument(
        "--sigma",
        type=positive,
        metavar="S",
        help="known standard deviation of a run's final loss over seeds, in nats, from many other runs: then a z test "
        "from the first seed on (default: Student's t over the seeds, from the second on)",
    )


def check(options: argparse.Namespace) -> None:
    """Hold the options of `compare` against each other, before anything is trained or submitted.

    Raises:
        ConfigError: they don't go together, or are another verb's.
    """
    if "method" in options.overrides:
        raise ConfigError(
            f"--method: compare takes several; give --methods {options.overrides['method']} ..."
        )
    no_seeds(options)
    ledger.ledger_of(options)
    if options.target is None:
        for name in ("max_seeds", "significance", "sigma"):
            if getattr(options, name) is not None:
                raise ConfigError(
                    f"--{name.replace('_', '-')}: goes with a target only; give --target LOSS, too"
                )
        return
    if options.workers > 1:
        raise ConfigError(
            f"--workers: given {options.workers}; with --target each run decides whether there is a next one, so give 1"
        )
    if options.seeds != 1:
        raise ConfigError("--seeds: with --target seeds are added as needed; give --max-seeds N instead")
    _rule(options)


def _rule(options: argparse.Namespace) -> Rule:
    from ngptlab.studies.target.rule import Rule

    return Rule(
        significance=SIGNIFICANCE if options.significance is None else options.significance,
        max_seeds=MAX_SEEDS if options.max_seeds is None else options.max_seeds,
        sigma=options.sigma,
    )


def act(recipe: Recipe, options: argparse.Namespace, out: Path) -> tuple[list[Path], Path]:
    """Train what is missing, print the table, write the numbers; returns the run directories and the study's file."""
    from ngptlab.console import Console
    from ngptlab.studies.target.files import print_target
    from ngptlab.studies.target.run import reach

    tuned.keep(options, out)
    found, runs = reach(
        recipe,
        out=out,
        target=options.target,
        rule=_rule(options),
        methods=options.methods,
        ledger=ledger.ledger_of(options),
        overrides=options.overrides,
        reporter=console_reporter,
        tell=remark,
    )
    print_target(found, Console())
    return runs, out / "target.json"
