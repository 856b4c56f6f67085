"""What can be told of a command line before torch is imported: names that are not there, fields of the wrong type.

A verb says the same later, seconds later. Imports no torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ngptlab.config.method_name import is_of_file
from ngptlab.errors import ConfigError, nearest, shown
from ngptlab.gpus import gpu_speed
from ngptlab.method_files.shipped import method_names
from ngptlab.method_files.sources import is_path
from ngptlab.overrides import apply
from ngptlab.recipes import recipe

ALL = "all"
"""Stands for every method, where a verb takes that."""


def check(options: argparse.Namespace, *, whole: bool) -> None:
    """Look at what a verb was given. `whole`: the fields are put into the recipe's config as they are.

    Raises:
        LabError: a method, a recipe or a GPU is not there; a field of the config can't have its value.
    """
    named = dict.fromkeys(_methods(options))
    known = method_names() if named else []
    for name in named:
        if (
            name not in (ALL, "none", "None")
            and not is_of_file(name)
            and not is_path(name)
            and name not in known
        ):
            raise ConfigError(
                f"method: given {shown(name)}; {nearest(name, known)} (`ngptlab methods` lists them; a file of your own is given "
                "by its path, ./my_idea.py)"
            )
    if getattr(options, "gpu", None):
        gpu_speed(options.gpu, 1.0)
    if not hasattr(options, "recipe") or Path(options.recipe).is_dir():  # a study may go on from a run
        return
    found = recipe(options.recipe)
    if whole and not getattr(options, "smoke", False):  # what that changes comes first
        apply(found.config, {name: value for name, value in options.overrides.items() if name != "method"})


def _methods(options: argparse.Namespace) -> Iterator[str]:
    """Every method that is named, by whichever option."""
    for where in ("methods", "method", "base", "against", "diff"):
        given = getattr(options, where, None)
        if isinstance(given, str):
            yield given
        elif isinstance(given, list | tuple):
            yield from given
    if hasattr(options, "base") and isinstance(getattr(options, "target", None), str):
        yield options.target  # of a ladder; that of a comparison may be a loss
    for path, value in options.overrides.items():
        if (path == "method" or path.startswith("seams.")) and isinstance(value, str):
            yield value
