"""What trackers refuse, each limit with its source, and how texts of ours are brought within them; reasons in one line.

TensorBoard's files take any text. trackio refuses keys with its own names, which have no "/", and config keys that begin with
"_" (trackio.utils.RESERVED_KEYS, trackio.run.Run). No key of ours is one of these.
"""

from __future__ import annotations

import hashlib
import re

from pydantic import ValidationError

from ngptlab.errors import LabError, without_secrets

TAG = 64
"""Characters of a tag, 1 at least: wandb.Settings.run_tags; its server says the same (github.com/wandb/wandb/issues/8322)."""
NAME = 128
"""Characters of a run's name, id and group: wandb's server (github.com/NVIDIA-NeMo/Skills/issues/842), and `Settings.project`.

An id may hold none of `:;,#?/'` besides (wandb.Settings.run_id); ours is digits, letters and "-". A group is a config's name, of
64 at most."""
CONFIG_DOTS, METRIC_DOTS = 3, 4
"""Dots in a flattened name that wandb shows: docs.wandb.ai/models/track/limits."""


def within(text: str, most: int) -> str:
    """A text of at most so many characters, all of which can be encoded.

    A hash of the whole stands for what is cut off, so that texts which begin alike stay apart.
    """
    text = text.encode("utf-8", "backslashreplace").decode()  # a folder's name may not be UTF-8
    if len(text) <= most:
        return text
    mark = "~" + hashlib.sha256(text.encode()).hexdigest()[:8]
    return text[: most - len(mark)] + mark


def reason(error: BaseException) -> str:
    """What a tracker's library said went wrong, in one line that a terminal can show."""
    if isinstance(
        error, ValidationError
    ):  # pydantic's own words end with the address of a page about pydantic
        said = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)
        )
    else:
        said = without_secrets(str(error))
    if isinstance(error, LabError):
        return one_line(said)
    kind = type(error).__name__
    return f"{kind}: {one_line(said)}" if said.strip() else kind


def one_line(text: str) -> str:
    """A text without line ends, colours and other characters that a terminal obeys."""
    plain = re.sub(r"\x1b\[[0-9;?]*[ -/]*[@-~]", "", text)
    return " ".join("".join(char if char.isprintable() else " " for char in plain).split())
