"""The verb `try`: checks of a method, then a small comparison with another one, within a budget of time."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ngptlab.errors import ConfigError
from ngptlab.options.methods import Methods
from ngptlab.options.runs import console_reporter, no_seeds
from ngptlab.options.stopping import until_stopped
from ngptlab.options.types import duration
from ngptlab.terminal import one_line, remark, say

if TYPE_CHECKING:
    from ngptlab.studies.trial.numbers import Trial

NAME = "try"
SUMMARY = "Check a method, then compare it with another one within a budget of time. Exit code 0: better, 1: worse, 3: undecided."
TAKES_RECIPE = False
EXIT = {"better": 0, "worse": 1, "undecided": 3}


def add(parser: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    parser.add_argument("method", action=Methods, metavar="METHOD", help="a name, or the path of a file")
    parser.add_argument(
        "--against", action=Methods, metavar="METHOD", help="the rival (default: the recipe's first method)"
    )
    parser.add_argument(
        "--recipe",
        default="demo",
        help="a recipe's name or a config file (default: demo); fields may be changed",
    )
    parser.add_argument(
        "--budget",
        type=duration,
        default=600.0,
        metavar="TIME",
        help="as 90s, 10m, 1h (default: 10m): runs are shortened until it holds learning rates and three seeds of both methods; "
        "then seeds are added until it is decided or spent. A run that would exceed it is not started",
    )
    parser.add_argument("--json", action="store_true", help="the verdict as JSON")
    parser.add_argument(
        "--again", action="store_true", help="although the same try is recorded; its runs are kept"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/try"),
        help="folder of the runs and of tries.jsonl (default: out/try)",
    )


def act(options: argparse.Namespace) -> int:
    """Try the method, print the verdict, return its exit code."""
    from ngptlab.recipes import recipe
    from ngptlab.studies.trial.run import How, attempt

    found = recipe(options.recipe)
    no_seeds(options)
    if any(path == "method" or path.startswith("seams.") for path in options.overrides):
        raise ConfigError("--method, --seams: try sets them; give METHOD and --against")
    how = How(
        out=options.out,
        budget_seconds=options.budget,
        reporter=console_reporter,
        again=options.again,
        tell=remark,
    )
    verdicts: list[Trial] = []

    def work() -> None:
        rival = options.against or found.methods[0]
        trial, before = attempt(found, options.method, rival, options.overrides, how)
        verdicts.append(trial)
        if before:
            remark(f"recorded in {options.out}; --again repeats it")
        _print(trial, as_json=options.json)

    code = until_stopped(work)
    return code if code or not verdicts else EXIT[verdicts[0]["verdict"]]


def _print(trial: Trial, *, as_json: bool) -> None:
    if as_json:
        say(json.dumps(trial, indent=1, allow_nan=False))
        return
    say(one_line(trial["sentence"]))
    for warning in trial["warnings"]:
        remark(one_line(warning))
    remark(one_line(f"The runs: {trial['folder']}"))
