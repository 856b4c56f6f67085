"""Where a study's runs are trained: the option `--executor` of its verb, and what it stands for. Imports no torch."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from ngptlab.errors import ConfigError
from ngptlab.options.runs import add_workers
from ngptlab.options.types import count, number

if TYPE_CHECKING:
    from ngptlab.jobs.executor import Executor

LOCAL = "local"
OPTIONS = {"address": "ray", "gpus_per_run": "ray", "cpus_per_run": "ray"}
"""Options that go with one executor alone, and its name."""


def add(verb: argparse.ArgumentParser) -> None:
    """Give a study's verb the options."""
    add_workers(verb)
    verb.add_argument(
        "--executor",
        choices=tuple(EXECUTORS),
        default=LOCAL,
        help="where runs are trained: in processes of this machine, or on the nodes of a Ray cluster (default: local)",
    )
    verb.add_argument(
        "--address",
        metavar="A",
        help="with --executor ray: auto, or HOST:6379 (default: RAY_ADDRESS, else a cluster of this machine alone)",
    )
    verb.add_argument(
        "--gpus-per-run",
        type=number,
        metavar="G",
        help="with --executor ray: GPUs of a run, 0.25 for four runs on one (default: 1 where the run may use CUDA)",
    )
    verb.add_argument(
        "--cpus-per-run",
        type=count,
        metavar="N",
        help="with --executor ray: cores of a run, and its threads (default: --device.threads, or 1)",
    )


def chosen(options: argparse.Namespace, *, stack: int | None = 1) -> Executor:
    """The executor that the command line asks for.

    Args:
        stack: most cells that are trained as one program, see `Local`; None: as many as pays.

    Raises:
        ConfigError: an option belongs to another executor, a number is out of range, or a package is missing.
    """
    for name, owner in OPTIONS.items():
        if options.executor != owner and getattr(options, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')}: goes with --executor {owner}")
    given: Executor | None = getattr(options, "through", None)  # what `ngptlab submit` puts in its place
    return given or EXECUTORS[options.executor](options, stack)


def _local(options: argparse.Namespace, stack: int | None) -> Executor:
    from ngptlab.jobs.local import Local

    return Local(workers=options.workers, stack=stack)


def _ray(options: argparse.Namespace, stack: int | None) -> Executor:
    from ngptlab.jobs.on_ray import Ray
    from ngptlab.jobs.ray_cluster import check_installed

    if stack is not None and stack > 1:
        raise ConfigError(
            f"--stack: given {stack}; on Ray each run is a task of its own, so give auto or off"
        )
    check_installed()
    return Ray(
        address=options.address or "",
        gpus_per_run=options.gpus_per_run,
        cpus_per_run=options.cpus_per_run or 0,
        workers=options.workers,
    )


EXECUTORS: dict[str, Callable[[argparse.Namespace, int | None], Executor]] = {LOCAL: _local, "ray": _ray}
"""What makes each executor, by the name that the option takes."""
