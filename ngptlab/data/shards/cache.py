"""The cache folder, for what can be made again: `$NGPTLAB_CACHE`, or `~/.cache/ngptlab`."""

from __future__ import annotations

import os
from pathlib import Path

from ngptlab.errors import DataError


def cache_folder() -> Path:
    """Folder of prepared corpora, and of records about others' shards. It may not exist yet.

    Raises:
        DataError: the variable isn't set and the user has no home.
    """
    if folder := os.environ.get("NGPTLAB_CACHE"):
        return Path(os.path.expanduser(folder))
    try:
        return Path.home() / ".cache" / "ngptlab"
    except RuntimeError:
        raise DataError("this user has no home folder for the cache; set NGPTLAB_CACHE to a folder") from None
