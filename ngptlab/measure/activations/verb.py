"""`ngptlab eval --evals activations`: what each block does to the hidden state, on validation text."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ngptlab.measure.progress import one_by_one
from ngptlab.options.types import count
from ngptlab.terminal import say

if TYPE_CHECKING:
    from ngptlab.measure.trained import Trained

DEFAULT_TOKENS = 16_384


def add(options: argparse._ArgumentGroup) -> None:
    """Add the options that only this evaluation has."""
    options.add_argument(
        "--activation-tokens",
        type=count,
        default=DEFAULT_TOKENS,
        metavar="N",
        help="tokens of validation text, in whole windows of the training context, at most the run's eval.val_tokens "
        f"(default: {DEFAULT_TOKENS})",
    )


def need() -> None:
    """It needs no optional dependency."""


def act(models: Sequence[Trained], options: argparse.Namespace, out: Path) -> None:
    """Measure each model, keep the numbers in its run, print a summary, write table and figure."""
    from ngptlab.console import Console
    from ngptlab.data.corpus import open_data
    from ngptlab.measure.activations.measure import activations
    from ngptlab.measure.activations.show import print_activations, write_activations
    from ngptlab.measure.held_out import hold_out

    measured = {}
    for label, trained in one_by_one(models, "activations"):
        config = trained.config
        held_out = hold_out(config, open_data(config))
        windows = max(1, options.activation_tokens // config.train.context)
        found = activations(trained.model, held_out.inputs_NT[:windows])
        measured[label] = {"step": trained.step, "eval": "activations", **found}
        trained.run.keep_eval("activations", measured[label])
    write_activations(measured, out)
    print_activations(measured, Console())
    say(f"Table and figure: {out / 'activations'}.csv, .json, .png, .svg")
