"""The files of methods that this process has read, by the names that configs have for them."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

from ngptlab import disk
from ngptlab.config import RunConfig, method_name
from ngptlab.errors import ConfigError
from ngptlab.terminal import one_line

FILE_BYTES = 1 << 20
"""Limit for a method's file."""
LONGEST = 300
"""Characters of a message from somebody's own code that are repeated."""


@dataclass(frozen=True)
class Source:
    """The file of a method, as it was read."""

    name: str
    content: bytes
    path: Path
    """Where it was read from, for messages."""
    given: bool
    """Whether it was given by path in this process; else it is a copy that came with a folder."""

    @property
    def sha256(self) -> str:
        """Of the content."""
        return hashlib.sha256(self.content).hexdigest()


PACKAGE = "ngptlab.methods"
"""The package that methods' modules are under."""
_sources: dict[str, Source] = {}
"""What this process has read, by name."""


def is_path(text: str) -> bool:
    """Whether a method on a command line is given as a file."""
    return text.endswith(".py") or os.sep in text


def given(text: str) -> str:
    """The name that configs have for a method on a command line: of a path that of its file, which is read; else the text itself.

    Raises:
        ConfigError: the file can't be read, its name can't be a method's, or another one of its stem was given.
    """
    if not is_path(text):
        return text
    path = Path(os.path.expanduser(text))
    stem, content = path.stem, read(path)
    if path.suffix != ".py" or not method_name.STEM.fullmatch(stem):
        # A copy in a run's folder has its digest in its name.
        stem, mark, digest = stem.partition(method_name.MARK)
        if not mark or method_name.name_of(stem, content) != f"{stem}{mark}{digest}":
            raise ConfigError(
                f"{text}: can't be a method's name; call the file a word of letters, digits and _, as my_idea.py"
            )
    name = method_name.name_of(stem, content)
    for other in [each for each in _sources.values() if each.given and each.name != name]:
        if other.path == path.absolute():  # edited since
            _sources[other.name] = replace(other, given=False)
        elif method_name.stem(other.name) == stem:
            raise ConfigError(
                f"{text}: another file of that name is {other.path}; rename one, because tables and figures show the name"
            )
        elif other.content == content:
            raise ConfigError(f"{text}: the same file as {other.path}, byte for byte; give one of them")
    _sources[name] = Source(name, content, path.absolute(), given=True)
    return name


def forget() -> None:
    """Begin a command line: what another one was given counts no more."""
    _sources.clear()


def known(name: str) -> Source:
    """The file of a name that a config has.

    Raises:
        ConfigError: it was neither given nor found beside a config.
    """
    if name not in _sources:
        file = f"{method_name.stem(name)}.py"
        raise ConfigError(
            f"method {name}: its file is not here; give it by path (--method ./{file}), or put its copy back into the folder "
            "methods/ beside the config"
        )
    return _sources[name]


def find(name: str) -> Source | None:
    """The file of a name, None where it was neither given nor found."""
    return _sources.get(name)


def every() -> list[Source]:
    """All that this process has read."""
    return list(_sources.values())


def take_copy(name: str, content: bytes, path: Path) -> None:
    """Know a copy that came with a folder; what was given by path stays."""
    _sources.setdefault(name, Source(name, content, path.absolute(), given=False))


def of_module(module: str) -> str | None:
    """The name of the method whose module under `ngptlab.methods` this is; None where there is none."""
    return next((name for name in _sources if module_name(name) == module), None)


def module_name(name: str) -> str:
    """What its module is called under `ngptlab.methods`: the stem and the digest, so that two versions are two modules."""
    return name.replace(method_name.MARK, "_")


def names_in(config: RunConfig) -> list[str]:
    """The methods of a config that are somebody's own files."""
    named = dict.fromkeys([config.method, *config.seams.lenders.values()])
    return [name for name in named if method_name.is_of_file(name)]


def text_of(name: str) -> str:
    """The text of a method's file.

    Raises:
        ConfigError: as `known`.
    """
    return known(name).content.decode("utf-8")


def doc(name: str) -> str:
    """The docstring of a method's file, which is not run.

    Raises:
        ConfigError: as `known`; or it is no Python.
    """
    return ast.get_docstring(tree(known(name))) or ""


def line_of(name: str, variable: str) -> int:
    """The line at which a method's file sets a variable; its last line where it does not."""
    for node in tree(known(name)).body:
        if isinstance(node, ast.Assign) and variable in [ast.unparse(target) for target in node.targets]:
            return node.lineno
    return max(1, len(known(name).content.splitlines()))


def read(path: Path) -> bytes:
    """The content of a file that is to be a method's.

    Raises:
        ConfigError: it can't be read, or is not in UTF-8.
    """
    try:
        content = disk.read_bytes(path, limit=FILE_BYTES)
        content.decode("utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be read ({error.strerror}); give the path of a method's file"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: not in UTF-8 ({error.reason} at byte {error.start}); save it so"
        ) from None
    return content


def tree(source: Source) -> ast.Module:
    """Its syntax tree.

    Raises:
        ConfigError: it is no Python; says where.
    """
    try:
        return ast.parse(source.content)
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"{source.path}{where(error, source)}; mend the file") from None


def compiled_as(source: Source) -> tuple[str, ...]:
    """What tracebacks call the file. A file of that content that lay elsewhere may have been run before."""
    module = sys.modules.get(f"{PACKAGE}.{module_name(source.name)}")
    return (str(source.path), *([str(module.__spec__.origin)] if module and module.__spec__ else []))


def where(error: BaseException, source: Source) -> str:
    """', line N: what' of an error, N the last of the file's lines that led to it."""
    if isinstance(error, SyntaxError) and error.filename in (*compiled_as(source), "<unknown>", None):
        return f", line {error.lineno or 1}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename in compiled_as(source)]
    what = " ".join(str(error).split())
    said = one_line(f"{type(error).__name__}: {what}" if what else type(error).__name__)
    return f"{f', line {lines[-1]}' if lines else ''}: {said[:LONGEST]}"
