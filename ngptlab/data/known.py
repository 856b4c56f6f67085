"""Token shards that others made and published, under the name that `ngptlab data get` takes."""

from __future__ import annotations

import math
import os
import shlex
from pathlib import Path
from typing import NamedTuple

from ngptlab.config import DataConfig
from ngptlab.data.adopt import SCHEME
from ngptlab.errors import DataError


class Known(NamedTuple):
    """A published set of shards."""

    repository: str
    """Dataset repository on the hub."""
    val_file: str
    train_file: str
    """Pattern of a number from 1 on."""
    num_train: int
    shard_tokens: int
    """In a training shard, about; the last is shorter."""
    tokenizer: str

    def files(self, shards: int) -> list[str]:
        """Validation, then so many training shards."""
        return [self.val_file, *(self.train_file.format(number) for number in range(1, shards + 1))]


KNOWN = {
    "fineweb10B": Known(
        repository="kjj0/fineweb10B-gpt2",
        val_file="fineweb_val_000000.bin",
        train_file="fineweb_train_{:06d}.bin",
        num_train=103,
        shard_tokens=98_500_000,
        tokenizer="gpt2",
    )
}
"""fineweb10B: what modded-nanogpt and the replication read."""


def default_folder(name: str) -> Path:
    """Where `data get` puts them and recipes look for them, below the current folder: modded-nanogpt's place."""
    return Path("data") / name


def source_folder(source: str) -> Path:
    """The folder of a `shards:DIR` source."""
    return Path(os.path.expanduser(source.removeprefix(SCHEME)))


def missing(data: DataConfig, *, tokens: int) -> str | None:
    """The command that gets the shards of `data`, enough to meet `tokens` once; None where they are there, or where nobody
    knows whence they come.
    """
    folder = source_folder(data.source)
    if not data.source.startswith(SCHEME) or folder.name not in KNOWN:
        return None
    if all(any(folder.glob(f"*{split}*.bin")) for split in ("train", "val")):
        return None
    known = KNOWN[folder.name]
    shards = min(math.ceil(tokens / known.shard_tokens), known.num_train)
    place = "" if folder == default_folder(folder.name) else f" --out {shlex.quote(str(folder))}"
    return f"ngptlab data get {folder.name} --shards {shards}{place}"


def check_there(data: DataConfig, *, tokens: int) -> None:
    """Raises:
    DataError: shards that can be had are missing; it names the command.
    """
    command = missing(data, tokens=tokens)
    if command:
        raise DataError(
            f"{source_folder(data.source)}: holds no train and val shards; get them with `{command}`"
        )
