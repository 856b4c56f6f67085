"""The code in an exported model's folder: this package's own files, unchanged except for their imports.

There is only one implementation. `transformers` copies the modules that a model's code imports relatively, all from one
folder. So every file of this package that the model needs is written there under its full name, ngptlab/nn/rope.py as
ngptlab_nn_rope.py, and `from ngptlab.nn.rope import` becomes `from .ngptlab_nn_rope import`. Two files are generated: the
records of the config without pydantic, and the table of the few parts that this model has.
"""

from __future__ import annotations

import ast
from pathlib import Path

import ngptlab
from ngptlab import disk, methods
from ngptlab.errors import ConfigError
from ngptlab.export.plain_config import plain_config
from ngptlab.export.records import name_of, records_in
from ngptlab.method_files import sources
from ngptlab.nn.decoder import Parts

PACKAGE = Path(ngptlab.__file__).parent
ROOT = ngptlab.__name__
CONFIG = f"{ROOT}.config"
"""Module of the config's records, which is generated anew, without pydantic."""
PART_KINDS = f"{ROOT}.export.part_kinds"
ENTRY = f"{ROOT}.export.modeling_{ROOT}"
"""The module that `config.json` names. Its imports decide which files are bundled."""
AUTO_MAP = {
    "AutoConfig": f"modeling_{ROOT}.NgptlabConfig",
    "AutoModelForCausalLM": f"modeling_{ROOT}.NgptlabForCausalLM",
}

NAMED = "# From a folder, older releases of transformers copy only what this file itself imports."


def bundle(parts: Parts) -> dict[str, str]:
    """File names and sources of all code that a model of these parts needs, besides torch and transformers.

    Raises:
        ConfigError: a file has an import that can't be made relative.
    """
    files: dict[str, str] = {}
    from_config: set[str] = set()
    waiting = [ENTRY]
    while waiting:
        module = waiting.pop()
        if _flat(module) in files or module == CONFIG:
            continue
        source = _part_kinds(parts) if module == PART_KINDS else _source(module)
        files[_flat(module)], imported = _relative(source, module)
        waiting += imported
        from_config |= imported.get(CONFIG, set())
    files[_flat(CONFIG)] = plain_config(from_config)
    carried = [f"    from .{name} import __name__" for name in sorted(files) if name.startswith(f"{ROOT}_")]
    files[_flat(ENTRY)] += "\n".join(["", "", NAMED, "if False:", *carried]) + "\n"
    note = f"# Part of {ROOT} {ngptlab.__version__} (MIT license), brought along by `ngptlab export`; not to be edited here.\n"
    return {f"{name}.py": note + source for name, source in sorted(files.items())}


def _path(module: str) -> Path:
    """Expected path of a module's file."""
    _, unit, *rest = module.split(".")
    # Methods need not be in this package's folder.
    if unit == "methods" and rest:
        return methods.path(rest[0])
    return PACKAGE.joinpath(unit, *rest).with_suffix(".py")


def _source(module: str) -> str:
    """The source of a module."""
    own = _own_method(module)
    return disk.read_text(_path(module)) if own is None else sources.text_of(own)


def _is_there(module: str) -> bool:
    return _own_method(module) is not None or _path(module).is_file()


def _own_method(module: str) -> str | None:
    """The method from a user's file that became this module; None where the module is this package's."""
    return sources.of_module(module.removeprefix(f"{sources.PACKAGE}."))


def _flat(module: str) -> str:
    """The module's name in the exported folder. A model's own module keeps its name, which `transformers` expects."""
    *folders, last = module.split(".")
    return last if last.endswith(f"_{ROOT}") else "_".join([*folders, last])


def _relative(source: str, module: str) -> tuple[str, dict[str, set[str]]]:
    """The source with imports from this package made relative, and what it imports: names by module."""
    # `ast` counts lines by "\n"; `splitlines` also ends a line at a form feed.
    lines = source.split("\n")
    imported: dict[str, set[str]] = {}
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in sorted(found, key=lambda node: -node.lineno):
        named = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
        if named.split(".")[0] != ROOT:
            continue
        homes: dict[str, list[str]] = {}
        for alias in node.names:
            home = ngptlab._HOMES.get(alias.name, ROOT) if named == ROOT else named
            carried = home == CONFIG or (home != ROOT and _is_there(home))
            if isinstance(node, ast.Import) or not carried:
                raise ConfigError(
                    f"{module}, line {node.lineno}: `{ast.unparse(node)}` can't be carried into an export; write "
                    "`from ngptlab.<file> import <name>`"
                )
            homes.setdefault(home, []).append(ast.unparse(alias))
            imported.setdefault(home, set()).add(alias.name)
        indent = " " * node.col_offset
        lines[node.lineno - 1 : node.end_lineno] = [
            f"{indent}from .{_flat(home)} import {', '.join(names)}" for home, names in homes.items()
        ]
    return "\n".join(lines), imported


def _part_kinds(parts: Parts) -> str:
    """The source of `part_kinds.py` for a model of these parts."""
    kinds = {name_of(type(part)): type(part) for part in records_in(parts)}
    head = '"""The parts that this model is made of, by their names in `config.json`."""'
    imports = [
        f"from {kind.__module__} import {kind.__name__} as kind_{n}" for n, kind in enumerate(kinds.values())
    ]
    table = [f"        {name!r}: kind_{n}," for n, name in enumerate(kinds)]
    body = [
        "def part_kinds() -> dict[str, type]:",
        '    """See the line above."""',
        "    return {",
        *table,
        "    }",
    ]
    return "\n".join([head, "", *imports, "", "", *body]) + "\n"
