"""The verb `board`: methods ranked at equal tokens and equal budgets of tuning."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ngptlab.errors import ConfigError
from ngptlab.options import ledger
from ngptlab.options.methods import Methods
from ngptlab.options.runs import no_seeds
from ngptlab.options.stopping import until_stopped
from ngptlab.options.types import runs
from ngptlab.studies import executors
from ngptlab.terminal import remark, say

NAME = "board"
SUMMARY = "Rank methods at equal tokens and equal budgets of tuning."
TAKES_RECIPE = True
ALL = "all"


def add(board: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    board.add_argument(
        "--methods",
        action=Methods,
        nargs="+",
        default=[],
        metavar="M",
        help="methods, the baseline first: names, paths of files, or all (default: the recipe's). They may be given in "
        "pieces: the table also has methods of which the ledger or --out has runs",
    )
    board.add_argument(
        "--seeds",
        type=runs,
        default=5,
        metavar="N",
        help="fresh seeds of each method's best, which alone are reported (default: 5; a claim needs 3)",
    )
    board.add_argument(
        "--lrs",
        nargs="+",
        default=[],
        metavar="LR",
        help="learning rates: 2^-9, 2**-9 or 0.002 (default: the baseline's own, a half, a quarter, twice and four times of it)",
    )
    board.add_argument(
        "--decays",
        nargs="+",
        default=[],
        metavar="D",
        help="weight decays (default: half the baseline's own and twice of it)",
    )
    board.add_argument(
        "--plan",
        action="store_true",
        help="train nothing: take what the ledger has, write the table of that, and say what is left",
    )
    executors.add(board)
    ledger.add(board)
    board.add_argument(
        "--out", type=Path, help="folder of the runs and of board.* (default: out/<recipe>-board)"
    )


def act(options: argparse.Namespace) -> int:
    """Train what is missing, write and print the board."""
    from ngptlab.console import Console
    from ngptlab.recipes import recipe
    from ngptlab.stats.learning_rate import parse_rate
    from ngptlab.studies.board.files import print_board
    from ngptlab.studies.board.plan import terms
    from ngptlab.studies.board.run import How, board

    found = recipe(options.recipe)
    no_seeds(options)
    names = _named(options.methods, found.methods)
    given = terms(
        found,
        baseline=names[0],
        lrs=[parse_rate(text) for text in options.lrs],
        decays=options.decays,
        seeds=options.seeds,
        overrides=options.overrides,
    )
    out: Path = options.out or Path("out") / f"{found.config.name}-board"
    how = How(out=out, executor=executors.chosen(options), ledger=ledger.ledger_of(options), tell=remark)

    def work() -> int:
        result, left, failed = board(given, names, how, training=not options.plan)
        print_board(result, Console())
        if options.plan:
            say(f"Plan: {left.sentence}")
        say(f"Numbers and figure: {out / 'board.json'}, .csv, .md, .png, .svg")
        return failed

    return until_stopped(work)


def _named(given: Sequence[str], usual: Sequence[str]) -> list[str]:
    """The methods, the baseline first; `all` stands for every one of the package that is not named beside it.

    Raises:
        ConfigError: one is named twice.
    """
    from ngptlab import methods

    named = [name for name in given if name != ALL]
    if len(set(named)) < len(named):
        raise ConfigError(f"--methods: given {' '.join(given)}; name each once")
    if ALL not in given:
        return named or list(usual)
    first = [] if named and given[0] != ALL else [usual[0]]
    return list(dict.fromkeys([*first, *named, *methods.names()]))
