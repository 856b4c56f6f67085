"""Joining a Ray cluster, or starting one on this machine. The only place that decides how Ray runs."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import signal
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from ngptlab.errors import ConfigError, without_secrets
from ngptlab.jobs.local import cores
from ngptlab.terminal import one_line

HERE = "local"
"""Ray's word for a cluster of this machine alone, which ends with this process."""
LONGEST_REASON = 300
QUIET = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}


def check_installed() -> None:
    """Raises ConfigError where Ray is missing; costs no import of it."""
    try:
        metadata.version("ray")
    except metadata.PackageNotFoundError:
        raise ConfigError(
            "--executor ray: the package ray is not installed; `pip install 'ngptlab[ray]'` installs it, --executor local does "
            "without"
        ) from None


def check_address(address: str) -> None:
    """Raises ConfigError for what this process can't be a driver at."""
    if "://" in address:
        raise ConfigError(
            f"--address: given {address!r}; start this command on a machine of the cluster and give auto, or HOST:6379"
        )


def joined(address: str) -> Any:
    """Ray, with this process in a cluster as its driver: the one it is in already, that at `address`, or a new one here.

    A new one ends with this process. Without an address RAY_ADDRESS holds, as it does for Ray's own tools.

    Raises:
        ConfigError: Ray is not installed, or no cluster that this process could join answers.
    """
    check_installed()
    check_address(address)
    where = address or os.environ.get("RAY_ADDRESS", "") or HERE
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read where a cluster starts; nothing is sent
    # Ray takes over SIGTERM, at its import and when it starts, and ends the process at once.
    with _keeping_handlers():
        if where == HERE:
            _lock()
        import ray

        if not ray.is_initialized():
            more: dict[str, Any] = {"num_cpus": cores()} if where == HERE else {}
            try:
                ray.init(address=where, **(QUIET if where == HERE else _joining()), **more)
            except Exception as error:  # Ray raises that itself where a process of a new cluster is slow
                why = " ".join(without_secrets(str(error)).split())[:LONGEST_REASON]
                raise ConfigError(one_line(f"--executor ray: no cluster at {where} ({why})")) from None
    return ray


def _joining() -> dict[str, Any]:
    """A cluster that is there has its dashboard or none."""
    return {name: value for name, value in QUIET.items() if name != "include_dashboard"}


def _lock() -> None:
    """Have a cluster that starts here refuse who lacks its token, because its ports are open to the network."""
    if os.environ.get("RAY_AUTH_MODE"):
        return
    os.environ["RAY_AUTH_MODE"] = "token"  # before Ray 2.59 a token alone closes nothing
    if not any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


@contextlib.contextmanager
def _keeping_handlers() -> Iterator[None]:
    """Have the handlers of signals after the block that were there before."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # not the main thread, where Ray could set none either
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)
