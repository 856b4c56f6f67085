"""The data of a plan: which tokens are there, how often a run would meet them, and the command that gets what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from ngptlab.config import RunConfig
from ngptlab.data.corpus import known_size
from ngptlab.data.shards.format import shard_format
from ngptlab.data.shards.published import check_downloaded, download_command
from ngptlab.errors import DataError


@dataclass(frozen=True)
class PlannedData:
    """What is known of a run's data without preparing or fetching any."""

    source: str
    train_tokens: int | None
    """Training tokens that are there; None where that isn't known before they are prepared or fetched."""
    epochs: float | None
    """How often a run meets each of them."""
    bytes: int
    """Bytes on the disk of the training tokens that are there, or else of those that a run meets."""
    missing: str
    """What is wrong with them, in a sentence; empty where they are there."""
    command: str
    """The command that gets as many tokens as a run meets; empty where none is needed, or where no source is known."""


def planned_data(config: RunConfig) -> PlannedData:
    """The data of a config as they are on this machine."""
    needed = config.train.tokens
    size, missing = None, ""
    try:
        check_downloaded(config.data, tokens=needed)
        size = known_size(config.data, long_min_tokens=config.eval.length_factor * config.train.context)
    except DataError as error:
        missing = str(error)
    tokens = size.tokens if size else None
    windows = (tokens - 1) // config.train.context if tokens else 0
    epochs = config.train.steps * config.train.batch_size / windows if windows else None
    enough = tokens is not None and tokens >= needed
    return PlannedData(
        source=config.data.source,
        train_tokens=tokens,
        epochs=epochs,
        bytes=size.bytes if size else needed * shard_format(config.model.vocab_size).token_bytes,
        missing=missing,
        command="" if enough else download_command(config.data, tokens=needed) or "",
    )
