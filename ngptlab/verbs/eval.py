"""The verb `eval`: measure finished runs, each evaluation in a file of its own in a folder of its own under measure/."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ngptlab.discover import modules
from ngptlab.options.types import size

if TYPE_CHECKING:
    from ngptlab.measure.trained import Trained


class Evaluation(Protocol):
    """An evaluation's `verb.py`."""

    def add(self, options: argparse._ArgumentGroup) -> None:
        """Give the verb's parser the options of this evaluation."""

    def need(self) -> None:
        """Find what this evaluation alone needs. Raises ConfigError where it is not installed."""

    def act(self, models: Sequence[Trained], options: argparse.Namespace, out: Path) -> None:
        """Measure each model, keep the numbers in its run, write tables and figures over all into `out`."""


def evaluations() -> dict[str, Evaluation]:
    """Every evaluation by its name."""
    return dict(modules("ngptlab.measure", "verb"))


def add(parser: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options, those of each evaluation in a group of their own."""
    known = evaluations()
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    parser.add_argument(
        "--evals",
        nargs="+",
        required=True,
        choices=known,
        metavar="E",
        help=f"what to measure: {', '.join(known)}",
    )
    parser.add_argument("--step", type=size, metavar="N", help="checkpoint to measure (default: the newest)")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), help="where to compute (default: the run's)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/eval"),
        help="folder of tables and figures over all runs (default: out/eval); numbers of one run stay in RUN/evals/",
    )
    for name, evaluation in known.items():
        evaluation.add(parser.add_argument_group(name))


def act(options: argparse.Namespace) -> int:
    """Look for the extras and open every run first, so that what is missing costs no measuring; then evaluate."""
    from ngptlab.config import DeviceConfig
    from ngptlab.trained import open_trained
    from ngptlab.whole import check_finished

    asked = {name: evaluations()[name] for name in options.evals}
    for evaluation in asked.values():
        evaluation.need()
    device = DeviceConfig(kind=options.device) if options.device else None
    paths = dict.fromkeys(options.runs)  # a run given twice is measured once
    models = [open_trained(path, step=options.step, device=device) for path in paths]
    for trained in models:
        check_finished(trained.run)
    options.out.mkdir(parents=True, exist_ok=True)
    for evaluation in asked.values():
        evaluation.act(models, options, options.out)
    return 0
