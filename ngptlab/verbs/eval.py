"""The verb `eval`: measure finished runs, each evaluation in a file of its own under verbs/evals/."""

from __future__ import annotations

import argparse
from pathlib import Path

from ngptlab.verbs.evals import activations, length, scales, spectra, tasks, val
from ngptlab.verbs.types import size

EVALS = {
    "val": val,
    "length": length,
    "spectra": spectra,
    "scales": scales,
    "activations": activations,
    "tasks": tasks,
}
"""Every evaluation by its name. A new one is a module with `add` and `act`, named here."""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options, those of each evaluation in a group of their own."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run directories")
    parser.add_argument(
        "--evals",
        nargs="+",
        required=True,
        choices=EVALS,
        metavar="E",
        help=f"what to measure: {', '.join(EVALS)}",
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
    for name, evaluation in EVALS.items():
        evaluation.add(parser.add_argument_group(name))


def act(options: argparse.Namespace) -> int:
    """Look for the extras and open every run first, so that what is missing costs no measuring; then evaluate."""
    from ngptlab.config import DeviceConfig
    from ngptlab.trained import open_trained
    from ngptlab.whole import check_finished

    if "tasks" in options.evals:
        tasks.need()
    device = DeviceConfig(kind=options.device) if options.device else None
    paths = dict.fromkeys(options.runs)  # a run given twice is measured once
    models = [open_trained(path, step=options.step, device=device) for path in paths]
    for trained in models:
        check_finished(trained.run)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in dict.fromkeys(options.evals):
        EVALS[name].act(models, options, options.out)
    return 0
