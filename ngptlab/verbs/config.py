"""The verb `config`: the whole config of a run as YAML, which verbs take for a recipe, with what differs from the recipe."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from ngptlab.config import RunConfig, flatten
from ngptlab.terminal import remark, say


def add(parser: argparse.ArgumentParser) -> None:
    """The verb has no options but the fields."""


def act(options: argparse.Namespace) -> int:
    """Print it; how many fields differ is said on stderr."""
    from ngptlab.methods import resolve
    from ngptlab.overrides import apply
    from ngptlab.recipes import recipe

    found = recipe(options.recipe)
    method = str(options.overrides.get("method", found.methods[0]))
    before = resolve(found.arm(method))
    config = resolve(apply(found.arm(method), options.overrides))
    say("\n".join(lines(config, before)))
    others = [name for name in found.methods if name != method]
    more = f"; other methods of the recipe, by --method: {', '.join(others)}" if others else ""
    differing = len(changed(config, before))
    remark(
        f"{differing} field{'s' * (differing != 1)} differ{'s' * (differing == 1)} from the recipe's for {method}{more}"
    )
    return 0


def changed(config: RunConfig, before: RunConfig) -> dict[str, object]:
    """What the fields that differ were before."""
    old = dict(flatten(before))
    return {path: old.get(path) for path, value in flatten(config) if old.get(path) != value}


def lines(config: RunConfig, before: RunConfig) -> Iterator[str]:
    """The config as YAML, a field a line; behind one that differs a comment says what it was."""
    were = changed(config, before)

    def line(path: str, name: str, value: object, indent: str) -> str:
        note = f"  # in the recipe: {_word(were[path])}" if path in were else ""
        return f"{indent}{name}: {_word(value)}{note}"

    for name, value in config.model_dump(mode="json").items():
        if not isinstance(value, dict):
            yield line(name, name, value, "")
            continue
        shown = {key: each for key, each in value.items() if name != "seams" or each is not None}
        if shown:
            yield f"{name}:"
        yield from (line(f"{name}.{key}", key, each, "  ") for key, each in shown.items())


def _word(value: object) -> str:
    """A value as JSON, which YAML reads alike; words of letters without quotes."""
    plain = isinstance(value, str) and value.replace("_", "").replace("-", "").isalpha()
    safe = plain and str(value).lower() not in ("true", "false", "null", "yes", "no", "on", "off")
    return str(value) if safe else json.dumps(value)
