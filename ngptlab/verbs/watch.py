"""The verb `watch`: runs in progress, on a terminal."""

from __future__ import annotations

import argparse
from pathlib import Path

from ngptlab.options.types import seconds


def add(watch: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    watch.add_argument(
        "folder", type=Path, metavar="DIR", help="a run directory, or a folder with runs below it"
    )
    watch.add_argument(
        "--every", type=seconds, default=2.0, metavar="SECONDS", help="time between two looks (default: 2)"
    )
    watch.add_argument(
        "--once", action="store_true", help="show it once and end, as where there is no terminal"
    )


def act(options: argparse.Namespace) -> int:
    """Show the runs until Ctrl-C."""
    from ngptlab.console import Console
    from ngptlab.watch.watch import watch

    watch(options.folder, every_seconds=options.every, once=options.once, console=Console())
    return 0
