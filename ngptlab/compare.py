"""A comparison: every method of a recipe over the same batches and seeds, then the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ngptlab.jobs.in_turn import ReporterFactory, lending, plan, train_one
from ngptlab.jobs.side_by_side import at_once, train_side_by_side
from ngptlab.ledger.book import Ledger
from ngptlab.overrides import Overrides
from ngptlab.recipes import Recipe
from ngptlab.report.page import write_report
from ngptlab.report.samples import Sampler


def compare(
    recipe: Recipe,
    *,
    out: Path,
    methods: Sequence[str] = (),
    seeds: int = 1,
    ledger: Ledger | None = None,
    overrides: Overrides | None = None,
    workers: int = 1,
    reporter: ReporterFactory,
    sampler: Sampler | None = None,
    quiet: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train what is missing under out/runs, evaluate, and write out/report.html and out/report.json.

    Args:
        workers: runs trained at once, each in a process of its own; 1: one after the other in this process, which
            `reporter` is told of; 0: what is faster.
        quiet: whether nothing is shown of runs trained at once.
        sampler: lets each method's model write a few lines for the page.

    Raises:
        LabError: wrong settings or data, or a link where a run is to be trained; finished runs stay and are not trained again.
        Stopped: a signal asked for it; the run under way was saved.
    """
    configs = plan(recipe, methods=methods or recipe.methods, seeds=seeds, overrides=overrides or {})
    workers = at_once(configs, out, workers)
    if workers > 1:
        runs = train_side_by_side(configs, out, workers=workers, ledger=ledger, tell=tell, quiet=quiet)
    else:
        with lending(ledger, configs, out, tell):
            runs = [train_one(config, out, reporter) for config in configs]
    return write_report([run.path for run in runs], out, title=recipe.config.name, sampler=sampler)
