"""`ngptlab eval --evals val`: the validation loss of a checkpoint, on more tokens than while training if asked for."""

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


def add(options: argparse._ArgumentGroup) -> None:
    """Add the options that only this evaluation has."""
    options.add_argument(
        "--val-tokens", type=count, metavar="N", help="validation tokens (default: the run's eval.val_tokens)"
    )


def need() -> None:
    """It needs no optional dependency."""


def act(models: Sequence[Trained], options: argparse.Namespace, out: Path) -> None:
    """Measure each model, keep the numbers in its run, print a line for each."""
    from ngptlab.data.corpus import open_data
    from ngptlab.measure.held_out import hold_out
    from ngptlab.measure.val.measure import validation_loss

    for label, trained in one_by_one(models, "val"):
        config = trained.config
        if options.val_tokens:
            config = config.model_copy(
                update={"eval": config.eval.model_copy(update={"val_tokens": options.val_tokens})}
            )
        held_out = hold_out(config, open_data(config))
        result = validation_loss(
            trained.model,
            held_out.inputs_NT,
            held_out.targets_NT,
            text_bytes=held_out.target_bytes,
            documents_NT=held_out.of_document_NT,
        )
        trained.run.keep_eval("val", {"step": trained.step, **result})
        say(
            f"{label}  step {trained.step}  {result['loss_nats']:.4f} nats ± "
            f"{result['stderr_nats']:.4f} (one standard error of this text) over {result['tokens']:,} tokens"
        )
