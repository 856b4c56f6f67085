"""The verb `ladder`: from one method to another, seam by seam."""

from __future__ import annotations

import argparse
from pathlib import Path

from ngptlab.config.method_name import stem
from ngptlab.errors import ConfigError
from ngptlab.options import ledger, tuned
from ngptlab.options.methods import Methods
from ngptlab.options.runs import add_seeds, no_seeds
from ngptlab.options.stopping import until_stopped
from ngptlab.studies import executors, outlook
from ngptlab.terminal import remark, say

NAME = "ladder"
SUMMARY = "Go from one method to another, seam by seam."
TAKES_RECIPE = True


def add(ladder: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    for name, dest, metavar, what in (
        ("--from", "base", "A", "the method it starts from"),
        ("--to", "target", "B", "the method it leads to"),
    ):
        ladder.add_argument(
            name, dest=dest, action=Methods, required=True, metavar=metavar, help=f"{what}: a name or a path"
        )
    ladder.add_argument(
        "--mode",
        choices=("cumulative", "leave-one-out"),
        default="cumulative",
        help="one step of B more at each rung, or B with one step at a time taken back (default: cumulative)",
    )
    add_seeds(ladder, "rung")
    executors.add(ladder)
    tuned.add(ladder)
    outlook.add(ladder)
    ledger.add(ladder)
    ladder.add_argument(
        "--out", type=Path, help="folder of the runs and of ladder.* (default: out/<recipe>-<A>-<B>-<mode>)"
    )


def act(options: argparse.Namespace) -> int:
    """Train the rungs that are missing, print the table, write numbers and figure."""
    from ngptlab.console import Console
    from ngptlab.recipes import recipe
    from ngptlab.studies.ladder.files import print_ladder
    from ngptlab.studies.ladder.plan import plan
    from ngptlab.studies.ladder.run import attempts_of, ladder

    found, base, target = tuned.apply(recipe(options.recipe), options), options.base, options.target
    if any(path == "method" or path.startswith("seams.") for path in options.overrides):
        raise ConfigError("--method, --seams: the rungs of a ladder set both; give --from A and --to B")
    no_seeds(options)
    out = options.out or Path("out") / f"{found.config.name}-{stem(base)}-{stem(target)}-{options.mode}"

    if options.plan:
        planned = plan(found, base=base, target=target, mode=options.mode, overrides=options.overrides)
        pieces = [(cell, cell.config.train.steps) for cell in attempts_of(planned, found, options.seeds)]
        return outlook.tell(pieces, out, ledger.ledger_of(options))
    executor = executors.chosen(options)

    def work() -> int:
        tuned.keep(options, out)
        result, failed = ladder(
            found,
            base=base,
            target=target,
            mode=options.mode,
            seeds=options.seeds,
            out=out,
            executor=executor,
            ledger=ledger.ledger_of(options),
            overrides=options.overrides,
            tell=remark,
        )
        print_ladder(result, Console())
        say(f"Numbers and figure: {out / 'ladder.json'}, .csv, .png, .svg")
        return failed

    return until_stopped(work)
