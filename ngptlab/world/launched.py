"""What torchrun told this process: which one it is, of how many. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ngptlab.errors import ConfigError

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Set by torchrun for each process, and by every launcher that stands in for it."""


@dataclass(frozen=True)
class Launched:
    """One process among those that were started together."""

    rank: int = 0
    """Its number, over all machines."""
    size: int = 1
    """How many there are."""
    local_rank: int = 0
    """Its number on its machine."""
    local_size: int = 1
    """How many there are on its machine."""
    restarts: int = 0
    """How often the launcher has started all of them anew."""
    may_restart: bool = False
    """Whether it would do so."""
    store_outlives: bool = False
    """Whether the launcher keeps the processes' store, so that it holds what earlier attempts left there."""


def launched() -> Launched:
    """What the environment says; one process where it says nothing.

    Raises:
        ConfigError: the numbers contradict each other.
    """
    if any(name not in os.environ for name in NEEDED):
        return Launched()
    size, rank = _number("WORLD_SIZE", 1), _number("RANK", 0)
    here = Launched(
        rank=rank,
        size=size,
        local_rank=_number("LOCAL_RANK", rank),
        local_size=_number("LOCAL_WORLD_SIZE", size),
        restarts=_number("TORCHELASTIC_RESTART_COUNT", 0),
        may_restart=_number("TORCHELASTIC_MAX_RESTARTS", 0) > 0,
        store_outlives=os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )
    if not (0 <= rank < size and 0 <= here.local_rank < here.local_size <= size):
        raise ConfigError(
            f"RANK {rank} of WORLD_SIZE {size}, LOCAL_RANK {here.local_rank} of LOCAL_WORLD_SIZE {here.local_size}: no such "
            "process; start it with torchrun, or unset these variables"
        )
    return here


def check_alone(what: str) -> None:
    """Hold work that one process does against what the environment says.

    Raises:
        ConfigError: there are several, each of which would do it.
    """
    if launched().size > 1:
        raise ConfigError(
            f"{what}: torchrun starts several processes of `ngptlab train` alone; start this without torchrun, because it has "
            "processes of its own or needs none"
        )


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    try:
        return int(value)
    except ValueError:
        raise ConfigError(
            f"environment variable {name}: given {value[:40]!r}, a whole number is needed; start the processes with torchrun"
        ) from None
