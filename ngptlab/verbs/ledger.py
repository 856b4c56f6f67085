"""The verb `ledger`: the finished runs that studies take and results are made from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ngptlab import disk
from ngptlab.config import blank, flatten
from ngptlab.errors import ConfigError, nearest
from ngptlab.terminal import say

if TYPE_CHECKING:
    from ngptlab.ledger.book import Entry, Ledger
    from ngptlab.runs import Run


def add(ledger: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    ledger.add_argument(
        "path", type=Path, metavar="PATH", help="a file ending in .jsonl, or a folder of them"
    )
    ledger.add_argument(
        "--add",
        nargs="+",
        type=Path,
        default=[],
        metavar="RUN",
        help="write finished runs into it first: run directories, or folders that hold some",
    )
    ledger.add_argument(
        "--where",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="only runs with these settings, as --where method=M optim.lr=2^-9",
    )
    instead = ledger.add_mutually_exclusive_group()
    instead.add_argument("--csv", type=Path, metavar="FILE", help="write a table of them, a line a run")
    instead.add_argument(
        "--restore", type=Path, metavar="DIR", help="make their run directories in DIR, without weights"
    )
    instead.add_argument(
        "--check",
        action="store_true",
        help="recompute every hash and digest of the whole ledger; exit code 1 if one is wrong",
    )


def act(options: argparse.Namespace) -> int:
    """Add, check, filter; then restore, write or list."""
    from ngptlab.ledger.book import Ledger
    from ngptlab.ledger.record import restore
    from ngptlab.ledger.table import as_csv, lines

    ledger, wanted = Ledger(options.path), _wanted(options.where)
    if options.add:
        added = [run.path.name for run in ledger.add(_finished(options.add))]
        say(
            f"Added to {options.path}: {', '.join(added) or 'nothing, all of it is there, or came out of a ledger'}"
        )
    if not ledger.files:
        raise ConfigError(
            f"{options.path}: no ledger there; make one with --add RUN, or with --ledger of a study"
        )
    if options.check:
        return _check(ledger)
    chosen = [entry for entry in ledger.entries() if _fits(entry, wanted)]
    if options.restore:
        options.restore.mkdir(parents=True, exist_ok=True)
        made = 0
        for entry in chosen:
            path = options.restore / entry.config.run_name
            if not (path / "config.json").exists():
                restore(entry.record, path, entry.origin)
                made += 1
        there = f", {len(chosen) - made} were there" if made < len(chosen) else ""
        say(f"{made} runs made in {options.restore}{there}")
    elif options.csv:
        disk.write_text(options.csv, as_csv(lines(chosen)))
        say(f"{len(chosen)} runs: {options.csv}")
    else:
        _show(chosen)
    return 0


def _check(ledger: Ledger) -> int:
    problems = ledger.problems()
    for problem in problems:
        say(problem)
    if not problems:
        say(f"{sum(1 for _ in ledger.entries())} runs; every hash and digest is right")
    return 1 if problems else 0


def _show(entries: Sequence[Entry]) -> None:
    from ngptlab.console import Console
    from ngptlab.ledger.table import SHOWN, lines, shown
    from ngptlab.listing import Listing

    table = Listing()
    for name in SHOWN:
        table.add_column(name, "text" if name in ("recipe", "arm", "settings") else "word")
    for row in shown(lines(entries)):
        table.add_row(*row)
    Console().print(table)
    say(f"{len(entries)} runs")


def _finished(paths: Sequence[Path]) -> list[Run]:
    """The runs at these paths, and those that are over in folders of runs."""
    from ngptlab.runs import Run

    found: list[Run] = []
    for path in paths:
        if (path / "config.json").is_file():
            run = Run(path)
            if not run.ending.over:
                raise ConfigError(f"{path}: not finished; train it to its end, or leave it out")
            found.append(run)
            continue
        inside = [config for place in (path, path / "runs") for config in sorted(place.glob("*/config.json"))]
        if not inside:
            raise ConfigError(f"{path}: neither a run directory nor a folder of them")
        found += [run for run in (Run(config.parent) for config in inside) if run.ending.over]
    return found


def _wanted(texts: Sequence[str]) -> dict[str, str]:
    known = [path for path, _ in flatten(blank())]
    found = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals or path not in known:
            problem = nearest(path, known) if equals else "give FIELD=VALUE"
            raise ConfigError(f"--where: given {text!r}; {problem}")
        found[path] = value
    return found


def _fits(entry: Entry, wanted: dict[str, str]) -> bool:
    fields = dict(flatten(entry.record["config"]))
    return all(_same(fields.get(path), value) for path, value in wanted.items())


def _same(there: object, value: str) -> bool:
    from ngptlab.stats.learning_rate import parse_rate

    if isinstance(there, float):
        try:
            return parse_rate(value) == there
        except ConfigError:
            return False
    return str(there) == value or (there is None and value == "none")
