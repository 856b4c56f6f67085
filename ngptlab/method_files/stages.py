"""A method's own sizes of the batch, read from its file without running it: recipes and reports bring no torch."""

from __future__ import annotations

import ast

from ngptlab import disk
from ngptlab.config import RunConfig
from ngptlab.config.method_name import is_of_file
from ngptlab.method_files.shipped import method_file
from ngptlab.method_files.sources import find


def own_stages(config: RunConfig) -> tuple[float, ...] | None:
    """The `batch_stages` of a config's method, or of the method that lends it this seam; None where that can't be read."""
    text = _text(config.seams.lenders.get("batch_stages", config.method))
    return None if text is None else _written(text)


def has_own_stages(config: RunConfig) -> bool:
    """Whether a resolved config's stages of the batch are those of its method."""
    return (config.train.batch_stages or ()) == own_stages(config)


def with_method(config: RunConfig, method: str) -> RunConfig:
    """The config with another method. Stages that were the old method's own are left to the new one.

    They would stick otherwise, because a resolved config can't tell them from stages that somebody chose.
    """
    changed = config.model_copy(update={"method": method})
    if method == config.method or config.train.batch_stages is None or not has_own_stages(config):
        return changed
    return changed.model_copy(update={"train": config.train.model_copy(update={"batch_stages": None})})


def _text(name: str) -> str | None:
    if is_of_file(name):
        source = find(name)
        return None if source is None else source.content.decode("utf-8")
    path = method_file(name)
    return None if path is None else disk.read_text(path)


def _written(text: str) -> tuple[float, ...] | None:
    """What `METHOD = Parts(...)` says; None where the file makes METHOD in another way."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return None
    made = [n.value for n in body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "METHOD"]
    if not made or not isinstance(made[-1], ast.Call) or ast.unparse(made[-1].func) != "Parts":
        return None
    given = {keyword.arg: keyword.value for keyword in made[-1].keywords}
    if "batch_stages" not in given:
        return None if None in given else ()
    try:
        return tuple(float(share) for share in ast.literal_eval(given["batch_stages"]))
    except (ValueError, TypeError):
        return None
