"""The file that a new method begins with: the seam table of another one, with what each seam is, an example, and how to test it.

Made from texts alone: what a seam is comes from the docstrings of `Parts`, so a new seam is there without a change here.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass

WIDTH = 110
EXAMPLE = "attn_scale"
"""The seam that the example changes, because a factor on another part fits every method."""
EXAMPLE_PART = '''@dataclass(frozen=True)
class Times:
    """An example part: what another one gives, times a factor.

    A part is a frozen record. Its fields are its settings; `build(dims)` gives what the seam asks for.
    """

    of: Part
    factor: float

    def build(self, dims: Dims) -> float:
        return float(self.factor * self.of.build(dims))
'''
EXAMPLE_NEEDS = {
    "dataclasses": {"dataclass"},
    "ngptlab.config": {"Dims"},
    "ngptlab.nn.parts": {"Part"},
    "ngptlab.nn.decoder": {"Parts"},
}
EXAMPLE_CALL = "Times({}, factor=1.25)"


@dataclass(frozen=True)
class Seam:
    """A seam, as `Parts` declares it."""

    name: str
    kind: str
    """The type of its part: a `ModulePart`, a `BlockPart`, a `Part`, or a number's."""
    meaning: str
    """Its docstring: where it stands, and what its part is called with."""
    default: str
    """The source of its default; '' where every method fills it."""


def seams(table: str) -> list[Seam]:
    """The seams in the source of `nn/blocks.py`, in their order."""
    (parts,) = [
        node for node in ast.parse(table).body if isinstance(node, ast.ClassDef) and node.name == "Parts"
    ]
    found = []
    for at, node in enumerate(parts.body):
        if isinstance(node, ast.AnnAssign):
            after = parts.body[at + 1] if at + 1 < len(parts.body) else None
            said = (
                after.value.value
                if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                else ""
            )
            default = "" if node.value is None else ast.unparse(node.value)
            kind = ast.unparse(node.annotation)
            found.append(Seam(ast.unparse(node.target), kind, " ".join(str(said).split()), default))
    return found


def draft(name: str, base: str, base_text: str, seam_table: str) -> str:
    """The file of a new method that starts from another one's seam table.

    Args:
        base: name of a method of the package; `base_text` is the text of its file, `seam_table` that of `nn/blocks.py`.
    """
    tree = ast.parse(base_text)
    table = _table(tree)
    filled = {**table, EXAMPLE: EXAMPLE_CALL.format(table[EXAMPLE])}
    declared = seams(seam_table)
    imports = {module: set(names) for module, names in EXAMPLE_NEEDS.items()}
    for module, names in _needed(tree, base).items():
        imports.setdefault(module, set()).update(names)
    return "\n".join(
        [
            _docstring(name, base),
            "",
            *_import_lines(imports),
            "",
            "",
            EXAMPLE_PART,
            "",
            f"# The seam table. It is that of {base} but for {EXAMPLE}, which the example changes. Change one seam,",
            "# because two changes at once can't be told apart. A seam takes any part that is called as its comment says: one of",
            "# ngptlab/nn/parts.py, one of another method (from ngptlab.methods.NAME import ...), or one of this file.",
            *_calls(declared),
            "METHOD = Parts(",
            *_seam_lines(declared, filled),
            ")",
            "",
        ]
    )


def _docstring(name: str, base: str) -> str:
    return f'''"""The seam table of {base} with one seam changed; say here, in a sentence, what that is to do.

Source: where the idea comes from.

How to test it, from the folder of this file:

    ngptlab methods --diff {base} ./{name}.py                      what it changes
    ngptlab train demo --method ./{name}.py --smoke              does it train?
    ngptlab try ./{name}.py --against {base}                     checks, and a small comparison: is it better?
    ngptlab compare demo --methods {base} ./{name}.py --seeds 3 --out out/{name}
"""'''


def _table(tree: ast.Module) -> dict[str, str]:
    """The source of each seam's part."""
    return {str(keyword.arg): ast.unparse(keyword.value) for keyword in _method(tree).keywords}


def _method(tree: ast.Module) -> ast.Call:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["METHOD"]:
            assert isinstance(node.value, ast.Call), (
                "methods of the package are METHOD = Parts(...), as a test says"
            )
            return node.value
    raise AssertionError("methods of the package define METHOD, as a test says")


def _needed(tree: ast.Module, base: str) -> dict[str, set[str]]:
    """What the seam table names, by the module that it comes from: where the file imports it from, or the file itself."""
    homes = {
        alias.asname or alias.name: (str(node.module), alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    found: dict[str, set[str]] = {}
    for node in ast.walk(_method(tree)):
        if isinstance(node, ast.Name):
            module, name = homes.get(node.id, (f"ngptlab.methods.{base}", node.id))
            found.setdefault(module, set()).add(name if name == node.id else f"{name} as {node.id}")
    return found


def _import_lines(imports: dict[str, set[str]]) -> list[str]:
    """Those of Python's library first, then the package's."""
    lines: list[str] = []
    for module in sorted(imports, key=lambda each: (each.startswith("ngptlab"), each)):
        if module.startswith("ngptlab") and lines and "ngptlab" not in lines[-1]:
            lines.append("")
        line = f"from {module} import {', '.join(sorted(imports[module]))}"
        if len(line) > WIDTH:
            names = "".join(f"    {name},\n" for name in sorted(imports[module]))
            line = f"from {module} import (\n{names})"
        lines.append(line)
    return lines


def _calls(declared: list[Seam]) -> list[str]:
    """How the parts of which seams are built, as a comment."""
    modules, blocks = (
        [each.name for each in declared if each.kind == kind] for kind in ("ModulePart", "BlockPart")
    )
    said = "A part has build(dims)."
    if modules:
        said += f" One of {', '.join(modules)} has build(dims, parts, layer)."
    if blocks:
        said += (
            f" One of {', '.join(blocks)} may have build_at(dims, layer) instead, where blocks are to differ."
        )
    return [f"# {line}" for line in textwrap.wrap(said, WIDTH - 2)]


def _seam_lines(declared: list[Seam], filled: dict[str, str]) -> list[str]:
    lines = []
    for seam in declared:
        lines += [f"    # {line}" for line in textwrap.wrap(seam.meaning, WIDTH - 6)]
        if seam.name in filled:
            lines.append(f"    {seam.name}={filled[seam.name]},")
        else:
            lines.append(f"    # {seam.name}={seam.default},  (its default)")
    return lines
