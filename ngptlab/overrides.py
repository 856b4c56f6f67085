"""`--section.field value` on a command line, for any field of a RunConfig; the same from Python. Imports no torch.

Values are handed to the config's own types as they were typed, so an ill-typed one gets the same one-line error as a
wrong line in a file, and an unknown field is answered with the nearest one.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from ngptlab.config import DataConfig, Dims, RunConfig, blank, flatten, parse
from ngptlab.config.words import nearest_field, short
from ngptlab.errors import ConfigError, shown
from ngptlab.method_files.stages import with_method
from ngptlab.terminal import one_line, remark

Overrides = Mapping[str, Any]
"""'train.steps' -> '60', 'optim.betas' -> ['0.9', '0.95']."""
Given = Mapping[str, Any] | Iterable[str] | None
"""Overrides as a script gives them: {'train.steps': 60}, {'train': {'steps': 60}} or ['train.steps=60']."""


def flat(given: Given) -> Overrides:
    """Overrides by their fields' paths, whichever way they were given.

    Raises:
        ConfigError: one names no field, or has no value.
    """
    fields = dict(flatten(blank()))
    found: dict[str, Any] = {}
    for option, value in _leaves(given):
        path = _path(option, fields)
        if path not in fields:
            raise ConfigError(f"overrides: {shown(option)} is not a field; {nearest_field(path, fields)}")
        found[path] = value
    return found


def _path(option: str, fields: Mapping[str, Any]) -> str:
    """The field that an option means, if it is one."""
    path = option.removeprefix("--").replace("-", "_")
    return short(fields).get(path, path)


def _leaves(given: Given) -> Iterator[tuple[str, Any]]:
    if given is None:
        return
    if isinstance(given, str):
        raise ConfigError(f"overrides: given the text {shown(given)}; give a dict or a list of texts")
    if isinstance(given, Mapping):
        for key, value in given.items():
            if isinstance(value, Mapping):
                yield from ((f"{key}.{path}", leaf) for path, leaf in _leaves(value))
            else:
                yield key, value
        return
    for each in given:
        option, equals, text = each.partition("=")
        if not equals:
            raise ConfigError(f"overrides: given {shown(each)}; write it as train.steps=60")
        fields = dict(flatten(blank()))
        several = isinstance(fields.get(_path(option, fields)), list)
        yield option, text.split() if several else text


def split(
    arguments: Sequence[str], config: RunConfig, own: Collection[str] = ()
) -> tuple[Overrides, list[str]]:
    """Take the fields of `config` out of a command line; returns them and what is left.

    `--a.b_c 1`, `--a.b-c 1` and `--a.b-c=1` mean the same, and so does `--b-c 1` where only one section has that field.
    A tuple takes all values up to the next option. `own`: options of the verb, which are never fields.

    Raises:
        ConfigError: a dotted option names no field, or a value is missing.
    """
    fields = dict(flatten(config))
    alone = short(fields)
    overrides: dict[str, Any] = {}
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        option, equals, inline = argument.partition("=")
        path = option.removeprefix("--").replace("-", "_")
        path = path if option in own else alone.get(path, path)
        if not option.startswith("--") or option in own or ("." not in path and path not in fields):
            rest.append(argument)
            continue
        if path not in fields:
            raise ConfigError(
                f"{option}: no such field; {nearest_field(path, fields)} (`ngptlab train --help` lists them)"
            )
        values = [inline] if equals else _values(queue, several=isinstance(fields[path], list))
        if not values:
            words = _words(path)
            allowed = f"give one of {', '.join(words)}; " if words else ""
            raise ConfigError(f"{option}: given no value; {allowed}its default is {fields[path]}")
        overrides[path] = values if isinstance(fields[path], list) else values[0]
    return overrides, rest


def _words(path: str) -> tuple[str, ...]:
    """The words that a field can have, where these are few."""
    kind: Any = RunConfig
    for name in path.split("."):
        kind = kind.model_fields[name].annotation
    return tuple(each for each in get_args(kind) if isinstance(each, str))


def _values(queue: list[str], *, several: bool) -> list[str]:
    values: list[str] = []
    while queue and not queue[0].startswith("--") and (several or not values):
        values.append(queue.pop(0))
    return values


def apply(config: RunConfig, overrides: Overrides) -> RunConfig:
    """The config with some fields replaced.

    Raises:
        ConfigError: a value is ill-typed or out of range, or the result contradicts itself.
        DataError: the file of a tokenizer whose vocabulary is asked for can't be read.
    """
    fields = with_method(config, str(overrides.get("method", config.method))).model_dump()
    # A derived width follows the one it derives from, unless it is given too.
    if config.model.d_ff == Dims.default_d_ff(config.model.d_model):
        fields["model"]["d_ff"] = 0
    for path, value in overrides.items():
        *sections, leaf = path.split(".")
        record = fields
        for section in sections:
            record = record[section]
        record[leaf] = None if value in ("none", "None") else value
    if "data.tokenizer" in overrides and "model.vocab_size" not in overrides:
        _fit_vocabulary(fields, config)
    return parse(fields, origin="options" if overrides else config.name)


def _fit_vocabulary(fields: dict[str, Any], before: RunConfig) -> None:
    """Give the model the vocabulary of another tokenizer. `fields` are those of the config, changed here."""
    if fields["data"]["tokenizer"] != before.data.tokenizer:
        _set_vocabulary(fields["model"], fields["data"])


def complete_vocabulary(fields: dict[str, Any]) -> None:
    """Give a config that says nothing of its vocabulary that of its tokenizer. `fields` are changed here.

    Raises:
        DataError: the tokenizer's file can't be read.
    """
    model, data = fields.get("model"), fields.get("data", {})
    if isinstance(model, dict) and "vocab_size" not in model and isinstance(data, dict):
        _set_vocabulary(model, data)


def _set_vocabulary(model: dict[str, Any], data: dict[str, Any]) -> None:
    # Late, because it brings numpy, and a typo shall be told at once.
    from ngptlab.data.tokens.vocabulary import padded_vocabulary

    tokenizer = data.get("tokenizer", DataConfig().tokenizer)
    known = isinstance(tokenizer, str) and (tokenizer in ("bytes", "gpt2") or tokenizer.endswith(".json"))
    if not known or any("\ud800" <= letter <= "\udfff" for letter in tokenizer):
        return  # the config's own rules refuse what is no tokenizer, and names that are not UTF-8
    needed, model["vocab_size"] = padded_vocabulary(tokenizer, str(data.get("end_of_text", "")))
    _said(
        f"model.vocab_size {model['vocab_size']}: the {needed} tokens of {tokenizer}, up to a multiple of 64"
    )


@functools.cache
def _said(line: str) -> None:
    """Say it once, however many arms there are."""
    remark(one_line(line))
