"""A method's file becomes a module: who may run it, and what went wrong where."""

from __future__ import annotations

import ast
import contextlib
import importlib.abc
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from types import CodeType, ModuleType

from ngptlab import disk
from ngptlab.data.shards.cache import cache_folder
from ngptlab.errors import ConfigError, DataError, LabError
from ngptlab.method_files.sources import (
    PACKAGE,
    Source,
    compiled_as,
    every,
    known,
    module_name,
    tree,
    where,
)
from ngptlab.terminal import one_line, remark

GIVEN = "given-methods"
"""The folder of the cache that notes by digest what was given by path, and run, on this machine."""
TRUST = "NGPTLAB_TRUST_METHODS"
"""Environment variable: `all`, or SHA-256 digests, separated by commas, of files that may be run wherever they come from."""

EXTEND = (
    "extend its seam's class: Embed, Chain or Loss of ngptlab.nn.structure, Gate or Logits of ngptlab.nn.parts, Attention "
    "or Mlp of ngptlab.nn.blocks"
)


def module(name: str) -> ModuleType:
    """The module of a method's file, run once in a process.

    Raises:
        ConfigError: the file is not here, came with a folder and is not trusted, or does not run; says where.
    """
    source = known(name)
    dotted = f"{PACKAGE}.{module_name(name)}"
    if dotted in sys.modules:
        return sys.modules[dotted]
    _check_trusted(source)
    _check_alone(source)
    if source.given:
        _remember(source)
    spec = importlib.util.spec_from_loader(dotted, _Loader(source), origin=str(source.path))
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[dotted] = made  # dataclasses look their module up there
    try:
        spec.loader.exec_module(made)
    except (Exception, SystemExit) as error:
        del sys.modules[dotted]
        raise ConfigError(f"{source.path}{where(error, source)}; mend the file") from None
    return made


def blamed(error: BaseException) -> str:
    """'FILE, line N: what' of an error that comes from somebody's own method; '' of any other."""
    for source in every():
        if any(frame.filename in compiled_as(source) for frame in traceback.extract_tb(error.__traceback__)):
            return f"{source.path}{where(error, source)}"
        if isinstance(error, AttributeError) and _made_by(error.obj, source):
            return f"{source.path}, class {type(error.obj).__name__}: {error}, which its seam asks of it; {EXTEND}"
    return ""


def _made_by(thing: object, source: Source) -> bool:
    """Whether a class of this file is the thing's."""
    return type(thing).__module__ == f"{PACKAGE}.{module_name(source.name)}"


@contextlib.contextmanager
def blaming() -> Iterator[None]:
    """Have an error that comes from somebody's own method be one of its author, in a line.

    Raises:
        ConfigError: instead of that error; names file and line.
    """
    try:
        yield
    except (LabError, MemoryError, OSError):
        raise
    except Exception as error:
        if whose := blamed(error):
            raise ConfigError(f"{whose}; mend the file") from None
        raise


def trusting() -> dict[str, str]:
    """What a process that this one starts needs in its environment to run what was given by path here."""
    digests = [each.sha256 for each in every() if each.given]
    before = [part for part in os.environ.get(TRUST, "").split(",") if part]
    return {TRUST: ",".join([*before, *digests])} if digests else {}


class _Loader(importlib.abc.InspectLoader):
    """Runs the content that was read and hashed, whatever the file holds by now."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def get_source(self, fullname: str) -> str:
        return self._source.content.decode("utf-8")

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._source.content, str(self._source.path))


def _check_trusted(source: Source) -> None:
    allowed = os.environ.get(TRUST, "").split(",")
    if source.given:
        return
    if "all" in allowed or source.sha256 in allowed:
        remark(one_line(f"{source.path}: code that came with its folder, run because {TRUST} says so"))
        return
    with contextlib.suppress(DataError):
        if (cache_folder() / GIVEN / source.sha256).is_file():
            return
    raise ConfigError(
        f"{source.path}: code that came with its folder and was never given by path on this machine, so it is not run; read it, "
        f"then set {TRUST}={source.sha256}, or `all` where you trust all that you open"
    )


def _check_alone(source: Source) -> None:
    """A method is one file, because its digest must cover all of it.

    Raises:
        ConfigError: it imports a file that lies beside it.
    """
    for node in ast.walk(tree(source)):
        for top in _imported(node):
            beside = source.path.parent / f"{top}.py", source.path.parent / top / "__init__.py"
            if top == "" or (top != "ngptlab" and any(path.is_file() for path in beside)):
                raise ConfigError(
                    f"{source.path}, line {getattr(node, 'lineno', 1)}: imports {top or 'a file beside it'}; a method is one "
                    "file, because runs copy it and its hash covers it: move what it needs into it"
                )


def _imported(node: ast.AST) -> Iterable[str]:
    """The top-level packages that a statement imports; '' for a relative import."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return ["" if node.level else (node.module or "").split(".")[0]]
    return []


def _remember(source: Source) -> None:
    """Note that the file was given by path on this machine. Where that can't be written, only this process knows."""
    with contextlib.suppress(OSError, DataError):
        folder = cache_folder() / GIVEN
        folder.mkdir(parents=True, exist_ok=True)
        disk.write_new(folder / source.sha256, "")
