"""The verb `sweep`: a grid of runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ngptlab.config import ParamConfig, blank, flatten
from ngptlab.errors import ConfigError, nearest
from ngptlab.options import ledger
from ngptlab.options.methods import Methods
from ngptlab.options.runs import add_seeds
from ngptlab.options.stopping import until_stopped
from ngptlab.options.types import runs, size
from ngptlab.studies import executors, outlook
from ngptlab.terminal import remark, say

if TYPE_CHECKING:
    from ngptlab.jobs.executor import Executor
    from ngptlab.recipes import Recipe
    from ngptlab.studies.sweep.plan import Grid

NAME = "sweep"
SUMMARY = "Train a grid of runs; does the learning rate carry over width?"
TAKES_RECIPE = True
RULES = get_args(ParamConfig.model_fields["rules"].annotation)


def add(sweep: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""

    def option(name: str, text: str, **how: Any) -> None:
        sweep.add_argument(name, help=f"{text} (default: the recipe's)", **how)

    option("--methods", "methods", action=Methods, nargs="+", default=[], metavar="M")
    option(
        "--params", "rules of parametrization", nargs="+", default=[], choices=RULES, metavar="sp|mup|nugpt"
    )
    option(
        "--widths", "d_model of each model, heads as wide as the recipe's", nargs="+", default=[], type=size
    )
    option("--lrs", "learning rates: 2^-9, 2**-9 or 0.002", nargs="+", default=[], metavar="LR")
    sweep.add_argument(
        "--grid",
        nargs="+",
        default=[],
        metavar="FIELD=V,V",
        help="cross any other fields too, as --grid optim.weight_decay=0,0.1 optim.init='std:0.02;fan_in' (';' where a value has "
        "commas)",
    )
    sweep.add_argument(
        "--search",
        action="store_true",
        help="instead of the whole grid, descend from the recipe's settings along one field after the other (--lrs and --grid, "
        "values in order), with as many runs for every method; writes search.json, for `ngptlab compare --tuned`",
    )
    sweep.add_argument(
        "--points",
        type=runs,
        metavar="N",
        help="with --search: at most N settings for each method (default: until no neighbour has a lower loss)",
    )
    option("--base-width", "width at which all rules agree", type=size, default=0, metavar="W")
    add_seeds(sweep, "cell")
    executors.add(sweep)
    sweep.add_argument(
        "--stack",
        default="auto",
        metavar="auto|off|M",
        help="train up to M cells of one shape as one program (default: auto, as many as pays; see docs/protocol.md)",
    )
    outlook.add(sweep)
    ledger.add(sweep)
    sweep.add_argument(
        "--out",
        type=Path,
        help="folder of the runs, table and figure (default: out/<recipe>-sweep, or -search)",
    )


def _fields(given: list[str]) -> dict[str, list[str]]:
    """FIELD=V,V of each `--grid`.

    Raises:
        ConfigError: one is none of that, or names no field.
    """
    known = [path for path, _ in flatten(blank())]
    found: dict[str, list[str]] = {}
    for text in given:
        path, equals, values = text.partition("=")
        path = path.replace("-", "_")
        parts = [value.strip() for value in values.split(";" if ";" in values else ",")]
        if not equals or not all(parts):
            raise ConfigError(f"--grid: given {text!r}; give FIELD=VALUE,VALUE, as optim.weight_decay=0,0.1")
        if path not in known or path in found:
            problem = "given twice" if path in found else f"no such field; {nearest(path, known)}"
            raise ConfigError(f"--grid: {path}: {problem}")
        found[path] = parts
    return found


def act(options: argparse.Namespace) -> int:
    """Train what is missing, write table and figure, print the verdicts."""
    from ngptlab.jobs.stacks import stack_choice
    from ngptlab.recipes import recipe
    from ngptlab.stats.learning_rate import parse_rate
    from ngptlab.studies.sweep.plan import changed
    from ngptlab.studies.sweep.run import sweep
    from ngptlab.studies.sweep.tuning import searched

    found, lrs = recipe(options.recipe), [parse_rate(text) for text in options.lrs]
    fields = _fields(options.grid)
    executor = executors.chosen(options, stack=stack_choice(options.stack))
    kind = "search" if options.search else "sweep"
    out: Path = options.out or Path("out") / f"{found.config.name}-{kind}"
    if options.points is not None and not options.search:
        raise ConfigError("--points: goes with --search only; a grid is trained whole")
    if options.plan:
        return _plan(options, found, lrs, fields, out)
    if options.search:
        return _search(options, found, lrs, fields, executor, out)
    failed = 0

    def work() -> None:
        nonlocal failed
        changed_recipe = changed(found, options.overrides)
        grid = _grid(options, changed_recipe, lrs, fields)
        table, findings = sweep(
            changed_recipe, grid, out, executor=executor, ledger=ledger.ledger_of(options), tell=remark
        )
        for finding in findings:
            say(finding.verdict)
        for line in searched(table):
            say(line)
        say(f"The table: {out / 'sweep.csv'}")
        failed = sum(row.status == "failed" for row in table)

    code = until_stopped(work)
    if failed:
        remark(
            f"ngptlab: {failed} cell{'s' * (failed > 1)} failed; column `reason` of the table says why. Mend that and give "
            "the same command again",
        )
    return code or (1 if failed else 0)


def _grid(
    options: argparse.Namespace, recipe: Recipe, lrs: list[float], fields: dict[str, list[str]]
) -> Grid:
    from ngptlab.studies.sweep.plan import grid_of

    return grid_of(
        recipe,
        methods=options.methods,
        params=options.params,
        widths=options.widths,
        lrs=lrs,
        seeds=options.seeds,
        base_width=options.base_width,
        fields=fields,
    )


def _plan(
    options: argparse.Namespace, found: Recipe, lrs: list[float], fields: dict[str, list[str]], out: Path
) -> int:
    """Say what the grid would train."""
    from ngptlab.studies.sweep.plan import changed, plan
    from ngptlab.studies.sweep.run import Fitting

    if options.search:
        raise ConfigError(
            "--plan: how many runs a search takes shows as it descends; --points N is the most for each method"
        )
    recipe = changed(found, options.overrides)
    cells = plan(recipe, _grid(options, recipe, lrs, fields), resolve=Fitting())
    pieces = [(cell, cell.config.train.steps) for cell in cells]
    return outlook.tell(pieces, out, ledger.ledger_of(options))


def _search(
    options: argparse.Namespace,
    found: Recipe,
    lrs: list[float],
    fields: dict[str, list[str]],
    executor: Executor,
    out: Path,
) -> int:
    """Descend; print what was found for each method."""
    from ngptlab.stats.search import in_words
    from ngptlab.studies.search.run import search

    if options.params or options.widths or options.base_width:
        raise ConfigError(
            "--search: of one width and one set of rules; give the recipe's fields, as --model.d_model 64"
        )
    if "optim.lr" in fields:
        raise ConfigError("--grid optim.lr: give the learning rates by --lrs, as --lrs 2^-9 2^-8 2^-7")
    space = {**({"optim.lr": [repr(lr) for lr in lrs]} if lrs else {}), **fields}
    if not space:
        raise ConfigError("--search: over what? Give --lrs 2^-9 2^-8 2^-7, --grid FIELD=V,V or both")

    def work() -> None:
        result, _ = search(
            found,
            out=out,
            fields=space,
            methods=options.methods,
            seeds=options.seeds,
            points=options.points,
            executor=executor,
            ledger=ledger.ledger_of(options),
            overrides=options.overrides,
            tell=remark,
        )
        for line in in_words(result):
            say(line)
        say(f"The search: {out / 'search.json'}")

    return until_stopped(work)
