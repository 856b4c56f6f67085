"""A board, method by method: its grid, its fresh seeds, the table of what there is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ngptlab.config.method_name import stem
from ngptlab.errors import ConfigError, LabError
from ngptlab.jobs.cell import Cell
from ngptlab.jobs.executor import Executor
from ngptlab.jobs.local import SweepStopped, studying
from ngptlab.ledger.book import Ledger
from ngptlab.runs import Run
from ngptlab.studies.board.files import write_board
from ngptlab.studies.board.left import Left, left_of, probed
from ngptlab.studies.board.numbers import Board, Setting, measure
from ngptlab.studies.board.plan import Arm, Terms, arm_of
from ngptlab.studies.board.standing import Work
from ngptlab.studies.sweep.run import LOCAL, Fitting
from ngptlab.train.stop import StopRequest


@dataclass(frozen=True, kw_only=True)
class How:
    """The executor, ledger and output of a board."""

    out: Path
    executor: Executor = LOCAL
    ledger: Ledger | None = None
    tell: Callable[[str], None] = lambda line: None


class Nothing:
    """An executor that trains nothing. A board then shows what the ledger and the folder already have."""

    def prepare(self, cells: Sequence[Cell], out: Path) -> None:
        """Prepare nothing."""

    def train(self, cells: Sequence[Cell], out: Path, request: StopRequest) -> dict[str, str]:
        """Train no cell."""
        return {}


def board(
    terms: Terms, methods: Sequence[str], how: How, *, training: bool = True
) -> tuple[Board, Left, int]:
    """Train what is missing under out/runs, the baseline first; write board.json, .csv, .md, .png and .svg after each method.

    Returns the numbers, what is left, and how many runs failed. A method that cannot run, or that diverges, is a row.
    Methods that are not asked for are rows, too, where the ledger or the folder has runs of theirs on these terms.

    Args:
        methods: those to train, the baseline first.
        training: whether to; otherwise the table is of what is there.

    Raises:
        LabError: the baseline does not fit the recipe, the data are wrong, or the ledger is damaged.
        SweepStopped: a signal asked for it; the table was written, and the same command goes on.
    """
    fitting = Fitting()
    first = _arm(methods[0], terms, fitting)
    if first.refusal:
        raise ConfigError(f"the baseline {stem(methods[0])} can't run: {first.refusal}")
    arms = [first, *(_arm(method, terms, fitting) for method in methods[1:])]
    work = Work(terms=terms, out=how.out, arms=arms, others=_others(methods, terms, fitting, how))
    for arm in work.every:
        if arm.refusal:
            how.tell(f"{stem(arm.method)}: left out, {arm.refusal}")
    _take(work, how)
    if not training:
        return _write(work), probed(left_of(work), work), 0
    try:
        for number, arm in enumerate(arms, start=1):
            if not work.unfinished([*arm.cells, *work.fresh(arm)]):
                continue
            how.tell(f"{stem(arm.method)}, method {number} of {len(arms)}; {left_of(work).sentence}")
            _run(work.unfinished(arm.cells), work, how)
            _run(work.unfinished(work.fresh(arm)), work, how)
            if number < len(arms):
                _write(work)
    except SweepStopped:
        _write(work)
        raise
    return _write(work), left_of(work), len(work.failures)


def _arm(method: str, terms: Terms, fitting: Fitting) -> Arm:
    """A method with its grid, or with the reason why it cannot run."""
    try:
        return arm_of(method, terms, fitting)
    except LabError as error:
        refusal = str(error)
    except Exception as error:  # whatever error a user's file raises while it is built is the reason
        refusal = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return Arm(method=method, refusal=refusal)


def _others(methods: Sequence[str], terms: Terms, fitting: Fitting, how: How) -> list[Arm]:
    """Methods of earlier commands: those with a recorded cell of the grid."""
    recorded: dict[str, set[str]] = {}
    for entry in how.ledger.entries() if how.ledger else ():
        config = entry.record["config"]
        if config.get("name") == terms.recipe.config.name:
            recorded.setdefault(str(config.get("method")), set()).add(entry.hash)
    for path in sorted((how.out / "runs").glob("*/config.json")):
        with contextlib.suppress(LabError):  # a damaged file must not stop the other methods
            config = Run(path.parent).config
            recorded.setdefault(config.method, set()).add(config.hash)
    found = []
    for method, hashes in sorted(recorded.items()):
        if method in methods:
            continue
        arm = _arm(method, terms, fitting)
        if arm.refusal:
            how.tell(f"{stem(method)}, of an earlier piece: left out, {arm.refusal}")
        elif any(cell.config.hash in hashes for cell in arm.cells):
            found.append(arm)
    return found


def _take(work: Work, how: How) -> None:
    """Copy runs from the ledger into the folder: grids first, because they decide which fresh seeds are needed."""
    if how.ledger is not None:
        still = replace(how, executor=Nothing())
        _run([cell for arm in work.every for cell in arm.cells], work, still)
        _run([cell for arm in work.every for cell in work.fresh(arm)], work, still)


def _run(cells: Sequence[Cell], work: Work, how: How) -> None:
    """Train cells and keep the reasons of those that failed."""
    if cells:
        with studying(cells, how.out, executor=how.executor, ledger=how.ledger, tell=how.tell) as request:
            work.failures |= how.executor.train(cells, how.out, request)


def _write(work: Work) -> Board:
    """Write the table of the runs so far."""
    terms, train = work.terms, work.terms.recipe.config.train
    setting = Setting(
        recipe=terms.recipe.config.name,
        lrs=list(terms.lrs),
        decays=[float(decay) for decay in terms.decays],
        first_seed=terms.first_seed,
        max_seeds=terms.seeds,
        steps=train.steps,
        tokens=train.tokens,
    )
    found = measure(work.standings(), setting)
    write_board(found, work.out)
    return found
