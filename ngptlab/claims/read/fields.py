"""What readers of files share: records that leave unknown fields alone, and runs' names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import ConfigDict

from ngptlab.config import Frozen
from ngptlab.terminal import printable

HASH = re.compile(r"-([0-9a-f]{8})$")


class Read(Frozen):
    """Base of what is read from a file; fields that no rule asks for are left alone."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


def hashes(names: Iterable[str]) -> tuple[str, ...]:
    """Config hashes from names of runs, each once."""
    found = [match[1] for name in names if (match := HASH.search(name))]
    return tuple(dict.fromkeys(found))


def seed_label(seed: int, data_seed: int | None) -> str:
    """'0', or '0/1' where the batches have a seed of their own."""
    return str(seed) if data_seed in (seed, None) else f"{seed}/{data_seed}"


def shown(text: str) -> str:
    """A text of a stranger's file, in a line."""
    return " ".join(printable(text).split())
