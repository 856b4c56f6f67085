"""The fields of a config file, JSON or YAML, as plain values: from a bounded file, without surprises. Imports no torch.

A config needs YAML's mappings, lists and scalars, so no more is read. Tags are refused, and so are aliases, because a few can
unfold to more than any memory. Scalars that only YAML 1.1 knows stay words: `yes` is the word yes, `1:30` is not 90, `010` is
not 8, and a date is a word (YAML 1.2's core schema, without hexadecimal and octal numbers). The field that gets such a word
then says what it takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from ngptlab import disk
from ngptlab.errors import ConfigError, shown
from ngptlab.json_text import MAX_DIGITS, parse_json

FILE_BYTES = 1 << 20
"""Limit for a config file. Ours have two kilobytes."""
MAX_DEPTH = 16
"""Levels of mappings and lists in each other. A config has three."""
MAX_NODES = 10_000
"""Limit for keys, values, mappings and lists of a YAML file. There is one because its reader is slow."""
UNREADABLE = re.compile("[\x00\ud800-\udfff]")
"""Characters that no name, path or token of a config can have: the system ends a path at the first, UTF-8 lacks the others."""
TAG = "tag:yaml.org,2002:"
SCALARS: dict[str, tuple[re.Pattern[str], Callable[[str], Any]]] = {
    f"{TAG}null": (re.compile(r"(?:~|null|Null|NULL|)\Z"), lambda _: None),
    f"{TAG}bool": (
        re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
        lambda word: word.lower() == "true",
    ),
    f"{TAG}int": (re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z"), int),
    f"{TAG}float": (
        re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"),
        float,
    ),
    f"{TAG}str": (re.compile(""), str),
}
"""How a scalar of each tag is written and read. A scalar without quotes and tag has the first tag whose pattern it matches."""


def read_fields(path: Path) -> dict[str, Any]:
    """The fields in a `.json` file, or in a YAML file of another name. A byte order mark is passed over.

    Raises:
        ConfigError: the file can't be read or parsed, exceeds a limit, has a key twice, or holds no mapping.
    """
    try:
        text = disk.read_bytes(path, limit=FILE_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"{path}: can't be read ({why}); give a recipe's name or a .json or .yaml file"
        ) from None
    try:
        fields = parse_json(text) if path.suffix == ".json" else parse_yaml(text)
        _check(fields)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not valid JSON (line {error.lineno}: {error.msg})") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON or YAML ({error})") from None
    if not isinstance(fields, dict):
        raise ConfigError(f"{path}: holds {type(fields).__name__}, a config is a mapping of fields")
    return fields


def parse_yaml(text: str) -> Any:
    """The value of a YAML text: dicts, lists, words, numbers, true, false and None.

    Raises:
        ValueError: it is no YAML of the kind that the module's docstring describes; the message says where.
    """
    try:
        node = yaml.compose(text, Loader=_Composer)
        return None if node is None else _value(node)
    except yaml.reader.ReaderError as error:
        raise ValueError(
            f"character {error.position + 1} is U+{error.character:04X}, which YAML has not"
        ) from None
    except yaml.MarkedYAMLError as error:
        where = error.problem_mark or error.context_mark
        problem = shown(error.problem or error.context or "", quoted=False)
        raise ValueError(f"line {where.line + 1}: {problem}" if where else problem) from None


class _Composer(yaml.SafeLoader):
    """PyYAML's reader up to nodes, with limits. It reads no further than it is asked to, so a limit stops the reading, too."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  PyYAML's own name and type

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="an alias (*name); write its value out", problem_mark=mark)
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"more than {MAX_DEPTH} lists or mappings in each other", problem_mark=mark
            )
        if self._nodes > MAX_NODES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_NODES} keys and values", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


for _tag, (_pattern, _) in SCALARS.items():
    _Composer.add_implicit_resolver(_tag, _pattern, None)


def _value(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == f"{TAG}map":
        fields: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _at(key, "a key is a word, not a list or a mapping")
            if key.value in fields:
                raise _at(key, f"{shown(key.value)} stands twice in one mapping")
            fields[key.value] = _value(item)
        return fields
    if isinstance(node, yaml.SequenceNode) and node.tag == f"{TAG}seq":
        return [_value(item) for item in node.value]
    pattern, read = SCALARS.get(node.tag, (None, str)) if isinstance(node, yaml.ScalarNode) else (None, str)
    if pattern is None or not pattern.match(node.value):
        raise _at(node, f"the tag {shown(node.tag)} does not fit; write plain values, without tags")
    if read is int and len(node.value) > MAX_DIGITS:
        raise _at(node, f"a number of {len(node.value)} digits")
    return read(node.value)


def _at(node: yaml.Node, problem: str) -> ValueError:
    return ValueError(f"line {node.start_mark.line + 1}: {problem}")


def _check(value: Any, depth: int = 0) -> None:
    """Check the depth of a value of JSON or YAML, and the characters of every word in it."""
    if depth > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} lists or mappings in each other")
    if isinstance(value, str) and (bad := UNREADABLE.search(value)):
        raise ValueError(f"{shown(value)} has the character U+{ord(bad[0]):04X}")
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
