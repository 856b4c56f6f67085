"""`ngptlab eval --evals spectra`: singular values, condition numbers, ranks and norms of every matrix; the embeddings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ngptlab.measure.labels import identity
from ngptlab.measure.progress import one_by_one
from ngptlab.terminal import say

if TYPE_CHECKING:
    from ngptlab.measure.matrices import View
    from ngptlab.measure.trained import Trained

VIEWS: tuple[View, ...] = ("stored", "effective", "unit")
"""The same as in `measure.matrices`, repeated because help must not load torch."""


def add(options: argparse._ArgumentGroup) -> None:
    """Add the options that only this evaluation has."""
    options.add_argument(
        "--views",
        nargs="+",
        choices=VIEWS[1:],
        default=VIEWS[1:2],
        metavar="VIEW",
        help="besides the stored matrices: effective (scales folded into rows), unit (vectors along d_model normed); where "
        "that equals the stored matrix it is left out (default: effective)",
    )


def need() -> None:
    """It needs no optional dependency."""


def act(models: Sequence[Trained], options: argparse.Namespace, out: Path) -> None:
    """Measure each model, keep the numbers in its run, print a summary, write tables and figures."""
    from rich.markup import escape
    from rich.progress import track

    from ngptlab.console import Console
    from ngptlab.measure.spectra.measure import spectra
    from ngptlab.measure.spectra.show import print_spectra, write_spectra

    measured = {}
    views = [view for view in VIEWS if view == "stored" or view in options.views]
    stderr = Console(stderr=True)
    for label, trained in one_by_one(models, "spectra"):
        progress = partial(
            track, description=f"spectra of {escape(label)}", console=stderr, disable=not stderr.is_terminal
        )
        found = spectra(trained.model, views=views, track=progress)
        record = {"step": trained.step, "eval": "spectra", **found}
        trained.run.keep_eval("spectra", record)
        measured[label] = {**record, "of": identity(trained)}
    write_spectra(measured, out)
    print_spectra(measured, Console())
    say(f"Tables and figures: {out / 'spectra'}*.csv, .json, .png, .svg")
