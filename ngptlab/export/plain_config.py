"""Records of `ngptlab.config` as dataclasses of the same fields, for code that runs without pydantic."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from ngptlab import disk
from ngptlab.config import records
from ngptlab.errors import ConfigError

HEAD = '''"""Records of ngptlab's config, as plain dataclasses. What was checked while training is not checked again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
'''


def plain_config(names: Iterable[str]) -> str:
    """The source of a module that defines these records: fields, docstrings, properties and static methods.

    Raises:
        ConfigError: a name is no record of `ngptlab.config`.
    """
    tree = ast.parse(disk.read_text(Path(records.__file__)))
    found = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef) and _is_record(node)}
    if unknown := sorted(set(names) - set(found)):
        raise ConfigError(
            f"a model's code imports {unknown[0]} from ngptlab.config, but an exported model has its records only "
            f"({', '.join(found)})"
        )
    return "\n\n".join([HEAD, *(_plain(node) for name, node in found.items() if name in set(names))]) + "\n"


def _is_record(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base) == "Section" for base in node.bases)


def _plain(node: ast.ClassDef) -> str:
    body = [made for statement in node.body if (made := _kept(statement)) is not None]
    made = ast.ClassDef(
        name=node.name,
        bases=[],
        keywords=[],
        body=body,
        decorator_list=[ast.parse("dataclass(frozen=True, kw_only=True)", mode="eval").body],
    )
    return ast.unparse(ast.fix_missing_locations(made))


def _kept(statement: ast.stmt) -> ast.stmt | None:
    if isinstance(statement, ast.AnnAssign):
        field = ast.AnnAssign(
            statement.target, statement.annotation, _default(statement.value), statement.simple
        )
        return ast.copy_location(field, statement)
    if isinstance(statement, ast.FunctionDef):
        decorators = {ast.unparse(decorator) for decorator in statement.decorator_list}
        return statement if decorators & {"property", "staticmethod"} else None
    return statement if isinstance(statement, ast.Expr) else None  # a docstring


def _default(value: ast.expr | None) -> ast.expr | None:
    """The default of a field, which for pydantic's `Field(default=0, ge=0)` is 0."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
        return next((keyword.value for keyword in value.keywords if keyword.arg == "default"), None)
    return value
