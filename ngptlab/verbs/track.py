"""The verb `track`: hand a run's records to a tracker after the fact."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from ngptlab.config import RunConfig
from ngptlab.errors import DataError
from ngptlab.terminal import say

TRACKERS = [name for name in get_args(RunConfig.model_fields["track"].annotation) if name != "off"]


def add(track: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    track.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run directories that nobody is training"
    )
    track.add_argument("--to", required=True, choices=TRACKERS, help="the tracker")


def act(options: argparse.Namespace) -> int:
    """Hand on the steps that the tracker lacks."""
    from ngptlab.runs import Run
    from ngptlab.tracking.limits import reason
    from ngptlab.tracking.mirror import alone, mirror
    from ngptlab.tracking.sink import check_installed, open_sink
    from ngptlab.tracking.tracker_process import SHOWN
    from ngptlab.whole import check_finished

    check_installed(options.to)
    for path in options.runs:
        run = Run(path)
        check_finished(run)
        with run.lock(), alone(run, options.to, wait=False):
            try:
                last = mirror(run, open_sink(options.to, run), lambda: True)
            except Exception as error:  # a tracker's library raises what it likes
                raise DataError(f"{path}: {options.to} failed ({reason(error)[:SHOWN]})") from error
        say(f"{path}: in {options.to} up to step {last}")
    return 0
