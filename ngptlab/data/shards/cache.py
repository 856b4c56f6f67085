"""The folder for what can be made again: `$NGPTLAB_CACHE`, or `~/.cache/ngptlab`."""

from __future__ import annotations

import os
from pathlib import Path

from ngptlab.errors import DataError


def cache_folder() -> Path:
    """Where prepared corpora, and what is known of others' shards, are kept. May not be there yet.

    Raises:
        DataError: the variable isn't set and the user has no home.
    """
    if given := os.environ.get("NGPTLAB_CACHE"):
        return Path(os.path.expanduser(given))
    try:
        return Path.home() / ".cache" / "ngptlab"
    except RuntimeError:
        raise DataError("this user has no home folder for the cache; set NGPTLAB_CACHE to a folder") from None
