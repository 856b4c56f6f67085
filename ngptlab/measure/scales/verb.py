"""`ngptlab eval --evals scales`: learned scales, at the end and over the course of training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ngptlab.measure.labels import identity
from ngptlab.measure.progress import one_by_one
from ngptlab.terminal import say

if TYPE_CHECKING:
    from ngptlab.measure.trained import Trained


def add(options: argparse._ArgumentGroup) -> None:
    """It has no options."""


def need() -> None:
    """It needs no optional dependency."""


def act(models: Sequence[Trained], options: argparse.Namespace, out: Path) -> None:
    """Measure each model, keep the numbers in its run, print a summary, write tables and figures."""
    from ngptlab.console import Console
    from ngptlab.measure.scales.measure import scales
    from ngptlab.measure.scales.numbers import Learned
    from ngptlab.measure.scales.show import print_scales, write_scales

    measured, courses = {}, {}
    for label, trained in one_by_one(models, "scales"):
        record: Learned = {"step": trained.step, "eval": "scales", "scales": scales(trained.model)}
        trained.run.keep_eval("scales", record)
        measured[label] = {**record, "of": identity(trained)}
        courses[label] = [line for line in trained.run.read("scales") if line["step"] <= trained.step]
    write_scales(measured, courses, out)
    print_scales(measured, Console())
    for label, course in courses.items():
        if measured[label]["scales"] and not course:
            say(f"{label}: no scales.jsonl, it was trained before scales were logged; its course is left out")
    say(f"Tables and figures: {out / 'scales'}*.csv, .json, .png, .svg")
