"""Token shards that others made and published, under the name that `ngptlab data get` takes."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import NamedTuple

from ngptlab.config import DataConfig
from ngptlab.data.shards.given_folder import given_folder
from ngptlab.errors import DataError


class PublishedShards(NamedTuple):
    """A published set of shards."""

    repository: str
    """Dataset repository on the hub."""
    val_file: str
    train_file: str
    """Pattern of file names, with a number from 1 on."""
    num_train: int
    shard_tokens: int
    """Tokens of a training shard, about; the last shard is shorter."""
    tokenizer: str

    def files(self, shards: int) -> list[str]:
        """Names of the validation file, then of so many training shards."""
        return [self.val_file, *(self.train_file.format(number) for number in range(1, shards + 1))]


PUBLISHED = {
    "fineweb10B": PublishedShards(
        repository="kjj0/fineweb10B-gpt2",
        val_file="fineweb_val_000000.bin",
        train_file="fineweb_train_{:06d}.bin",
        num_train=103,
        shard_tokens=98_500_000,
        tokenizer="gpt2",
    )
}
"""fineweb10B: the set that modded-nanogpt and the replication train on."""

PG19 = "deepmind/pg19"
PG19_LABELS = {"test": "pg19-test", "validation": "pg19-dev"}
"""Labels of the splits' files. The label is `dev`, because a name that holds `val` would make the file validation text."""


def default_folder(name: str) -> Path:
    """The folder in which `data get` puts shards and recipes look for them, below the current one, as in modded-nanogpt."""
    return Path("data") / name


def download_command(data: DataConfig, *, tokens: int) -> str | None:
    """The command that gets enough shards of `data` for so many training tokens; None where `data` is no published set."""
    folder = given_folder(data)
    if folder is None or folder.name not in PUBLISHED:
        return None
    published = PUBLISHED[folder.name]
    shards = min(math.ceil(tokens / published.shard_tokens), published.num_train)
    place = "" if folder == default_folder(folder.name) else f" --out {shlex.quote(str(folder))}"
    return f"ngptlab data get {folder.name} --shards {shards}{place}"


def check_downloaded(data: DataConfig, *, tokens: int) -> None:
    """Check that the shards of a published set are there.

    Raises:
        DataError: there are none; the message has the command that gets enough for `tokens`.
    """
    folder, command = given_folder(data), download_command(data, tokens=tokens)
    if folder is None or command is None:
        return
    if not all(any(folder.glob(f"*{split}*.bin")) for split in ("train", "val")):
        raise DataError(f"{folder}: the shards of {folder.name} are not there; `{command}` gets them")
