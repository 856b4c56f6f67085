"""Where the processes of a run find each other: the store that the launcher tells them of, cleared of earlier attempts."""

from __future__ import annotations

import re
from datetime import timedelta

from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from ngptlab.errors import ConfigError, WorldError
from ngptlab.world.launched import Launched

_FOUND: dict[Launched, Store] = {}
"""One store a process, because the first process may hold it for all."""


def store_of(here: Launched, seconds: float) -> Store:
    """The store, once every process that it depends on is there.

    Where torchrun keeps the store, addresses of processes that were killed stay in it, and a restarted process would wait for
    them until all restarts are used up (torch 2.13 with gloo). So each attempt gets a place of its own in it.

    Raises:
        ConfigError: the attempts can't be told apart.
        WorldError: the store can't be reached.
    """
    if here in _FOUND:
        return _FOUND[here]
    if here.may_restart and here.store_outlives and here.local_size < here.size:
        # torchrun counts restarts on each machine for itself, so their numbers may differ.
        raise ConfigError(
            "torchrun --max-restarts over several machines: set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for each torchrun, because "
            "restarted processes would look for those that were killed"
        )
    try:
        store, _, _ = next(rendezvous("env://", here.rank, here.size, timeout=timedelta(seconds=seconds)))
    except (RuntimeError, ValueError) as error:
        raise WorldError(
            f"process {here.rank} of {here.size} can't reach the first one ({first_line(error)}); look whether all were started, "
            "and at MASTER_ADDR and MASTER_PORT"
        ) from None
    store.set_timeout(timedelta(seconds=seconds))
    _FOUND[here] = PrefixStore(f"ngptlab/{here.restarts}", store)
    return _FOUND[here]


def first_line(error: BaseException) -> str:
    """What torch says first, without the place in its source."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    line = re.sub(r"^\[[^\]]*\.(cc|cpp|h):\d+\] ", "", line).partition(". ")[0]
    return line if len(line) <= 160 else f"{line[:157]}..."
