"""What a study would train, and how long that takes here: the option `--plan` of its verb."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ngptlab.terminal import say

if TYPE_CHECKING:
    from ngptlab.jobs.cell import Cell
    from ngptlab.ledger.book import Ledger


TRIED = 8
"""Most runs that are tried for one that can be measured: each takes some seconds."""


def add(verb: argparse.ArgumentParser) -> None:
    """Give a study's verb the option."""
    verb.add_argument(
        "--plan",
        action="store_true",
        help="train nothing: say how many runs are left and how long they take here",
    )


def tell(cells: Sequence[tuple[Cell, int]], out: Path, ledger: Ledger | None) -> int:
    """Say what is left of these cells, each with the steps that it trains itself; returns the exit code.

    Raises:
        LabError: the data can't be read.
        Interrupted: a signal came while the time was measured.
    """
    from ngptlab.jobs.outcome import outcome

    lent = {entry.hash for entry in ledger.entries()} if ledger else set[str]()
    possible = {cell.config.hash: (cell, steps) for cell, steps in cells if not cell.refusal}
    left = [
        (cell, steps)
        for key, (cell, steps) in possible.items()
        if key not in lent and not outcome(cell, out).over
    ]
    refused = sum(bool(cell.refusal) for cell, _ in cells)
    also = f"; {refused} can't stand and are left out" if refused else ""
    if not left:
        say(f"Plan: all {len(possible)} runs are finished{also}")
        return 0
    steps = sum(steps for _, steps in left)
    tokens = sum(steps * cell.config.train.step_tokens for cell, steps in left)
    say(
        f"Plan: {len(left)} of {len(possible)} runs left, {steps:,} steps and {tokens:,} tokens together, {_time(left)}{also}"
    )
    return 0


def _time(left: Sequence[tuple[Cell, int]]) -> str:
    """The time of these runs, from a few steps of the first one that does not diverge; others count by their operations."""
    from ngptlab.errors import DivergedError
    from ngptlab.jobs.cost import cost_here
    from ngptlab.methods import load
    from ngptlab.nn.cost import mean_token_flops
    from ngptlab.recipes import Recipe
    from ngptlab.train.progress import clock

    def operations(cell: Cell) -> float:
        config = cell.config
        parts = load(config.method, config.seams.lenders)
        return mean_token_flops(config.model, parts, config.train) * config.train.step_tokens

    for first, _ in left[:TRIED]:
        name = first.config.method
        try:
            cost = cost_here(Recipe(config=first.config, methods=(name,), tuned={}), [name], whole=True)
        except DivergedError:  # that is a result of a grid, too
            continue
        usual = operations(first)
        seconds = sum(cost.whole(cell.config, steps, operations(cell) / usual) for cell, steps in left)
        return f"about {clock(seconds)} one after the other"
    return f"in a time that can't be told, because the first {min(TRIED, len(left))} of them diverge at once"
