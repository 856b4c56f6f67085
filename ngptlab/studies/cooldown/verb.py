"""The verb `cooldown`: cooldowns of several lengths and shapes from one trunk."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import get_args

from ngptlab.config import ScheduleConfig
from ngptlab.errors import ConfigError
from ngptlab.options import ledger, tuned
from ngptlab.options.runs import add_methods, add_seeds
from ngptlab.options.stopping import until_stopped
from ngptlab.options.types import count, number
from ngptlab.studies import executors, outlook
from ngptlab.terminal import remark, say

NAME = "cooldown"
SUMMARY = "Branch cooldowns of several lengths and shapes off one trunk."
TAKES_RECIPE = True
SHAPES = get_args(ScheduleConfig.model_fields["cooldown_shape"].annotation)
FRACS = (0.05, 0.1, 0.2, 0.3, 0.5)


def add(cooldown: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    cooldown.add_argument(
        "--fracs",
        nargs="+",
        type=number,
        default=FRACS,
        metavar="F",
        help=f"cooldown fractions (default: {' '.join(map(str, FRACS))})",
    )
    cooldown.add_argument(
        "--shapes", nargs="+", choices=SHAPES, default=SHAPES, help="shapes of the cooldown (default: all)"
    )
    cooldown.add_argument(
        "--lengths",
        nargs="+",
        type=count,
        default=[],
        metavar="N",
        help="steps of the runs, all from one trunk; two or more give a speed-up (default: train.steps)",
    )
    add_methods(cooldown)
    add_seeds(cooldown, "cell")
    executors.add(cooldown)
    tuned.add(cooldown)
    outlook.add(cooldown)
    ledger.add(cooldown)
    cooldown.add_argument(
        "--out", type=Path, help="folder of the runs and of cooldown.* (default: out/<name>-cooldown)"
    )


def act(options: argparse.Namespace) -> int:
    """Train what is missing, print the table, write numbers and figure."""
    from ngptlab.console import Console
    from ngptlab.jobs.cell import Cell
    from ngptlab.studies.cooldown.files import print_study
    from ngptlab.studies.cooldown.plan import Design, arms, first_seed, plan
    from ngptlab.studies.cooldown.run import cooldown, own_steps

    if options.tuned and Path(options.recipe).is_dir():
        raise ConfigError(f"--tuned: {options.recipe} is a run, which has its settings; give a recipe")
    settings = partial(tuned.apply, options=options)
    found = arms(options.recipe, options.methods, options.overrides, settings)
    design = Design(
        fracs=tuple(options.fracs),
        shapes=tuple(options.shapes),
        lengths=tuple(options.lengths),
        seeds=options.seeds,
        first_seed=first_seed(options.recipe, settings),
    )
    out: Path = options.out or Path("out") / f"{found[0].name}-cooldown"

    if options.plan:
        trunks = plan(found, design)
        pieces: list[tuple[Cell, int]] = [(trunk.leg, trunk.leg.config.train.steps) for trunk in trunks]
        pieces += [(leg, own_steps(leg, trunk)) for trunk in trunks for leg in trunk.branches]
        return outlook.tell(pieces, out, ledger.ledger_of(options))
    executor = executors.chosen(options)

    def work() -> int:
        tuned.keep(options, out)
        study, failed = cooldown(
            found, design, out=out, executor=executor, ledger=ledger.ledger_of(options), tell=remark
        )
        print_study(study, Console())
        say(f"Numbers and figure: {out / 'cooldown.json'}, .csv, .png, .svg")
        return failed

    return until_stopped(work)
