"""The code of an exported model: complete, of one origin, and of nothing that would have to be installed."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ngptlab import ConfigError, Dims, methods
from ngptlab.config import ParamConfig
from ngptlab.export import bundle as bundles
from ngptlab.export.bundle import bundle
from ngptlab.export.plain_config import plain_config
from ngptlab.nn.fast.attention import _in_blocks
from ngptlab.nn.operators import operator

STANDARD = sys.stdlib_module_names | {"torch", "transformers"}


@pytest.mark.parametrize("method", methods.names())
def test_everything_that_is_imported_is_there(method: str) -> None:
    files = bundle(methods.load(method))
    for name, source in files.items():
        tree = ast.parse(source)
        tried = {id(child) for node in ast.walk(tree) if isinstance(node, ast.Try) for child in node.body}
        for node in ast.walk(tree):
            if id(node) in tried:
                continue  # the file does without; transformers does not ask for such packages either
            if isinstance(node, ast.ImportFrom) and node.level:
                assert f"{node.module}.py" in files, f"{name}, line {node.lineno}"
            elif isinstance(node, ast.ImportFrom | ast.Import):
                module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                assert str(module).split(".")[0] in STANDARD, f"{name}, line {node.lineno}"


def test_files_are_the_package_s_own_but_for_their_imports() -> None:
    files = bundle(methods.load("qk_norm"))
    made_anew = {"ngptlab_config.py", "ngptlab_export_part_kinds.py"}
    assert made_anew < set(files)

    def body(source: str) -> list[str]:
        tree = ast.parse(source)
        lists = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "False"]
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                node.module, node.level, node.names = "", 0, [ast.alias("x")]
        return [ast.unparse(node) for node in tree.body if node not in lists]

    root = bundles.PACKAGE.parent
    paths = {
        "_".join(path.relative_to(root).with_suffix("").parts): path for path in bundles.PACKAGE.rglob("*.py")
    }
    for name in set(files) - made_anew:
        path = paths.get(name.removesuffix(".py"), bundles.PACKAGE / "export" / name)
        assert body(files[name]) == body(path.read_text(encoding="utf-8")), name


def test_only_the_method_s_own_file_comes_along() -> None:
    def of_methods(method: str) -> list[str]:
        return [name for name in bundle(methods.load(method)) if name.startswith("ngptlab_methods_")]

    assert of_methods("gpt") == of_methods("ngpt") == []
    assert of_methods("ngpt_modded") == ["ngptlab_methods_ngpt_modded.py"]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_plain_records_are_those_of_the_config(tmp_path: Path) -> None:
    path = tmp_path / "plain_records.py"
    path.write_text(plain_config(["Dims", "ParamConfig"]))
    made = load(path)
    sizes = {"vocab_size": 9, "num_layers": 3, "num_heads": 2, "d_model": 8, "d_ff": 5}
    plain, real = made.Dims(**sizes), Dims(**sizes)
    assert vars(plain) == real.model_dump() and plain.d_head == real.d_head
    assert made.Dims.default_d_ff(768) == Dims.default_d_ff(768)
    assert vars(made.ParamConfig()) == ParamConfig().model_dump()
    with pytest.raises(AttributeError):
        plain.d_ff = 6


def test_what_is_no_record_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"imports cooldown_steps from ngptlab\.config"):
        plain_config(["Dims", "cooldown_steps"])


@pytest.mark.parametrize(
    "line",
    [
        "import ngptlab.nn.parts",
        "from ngptlab.nn import parts",
        "from ngptlab import methods",
        "from ngptlab.nn.parts_of_tomorrow import Norm",
    ],
)
def test_imports_that_cannot_be_carried_are_named(line: str) -> None:
    with pytest.raises(ConfigError, match=r"m, line 2: `.*` can't be carried"):
        bundles._relative(f'"""A file."""\n{line}\n', "m")


def test_imports_become_relative_where_they_stand() -> None:
    late = "def f():\n    from ngptlab.nn.precision import (\n        wide as w,\n    )\n    return w\n"
    source = f"from ngptlab import Dims, Parts\n{late}"
    made, imported = bundles._relative(source, "m")
    assert made.splitlines() == [
        "from .ngptlab_config import Dims",
        "from .ngptlab_nn_decoder import Parts",
        "def f():",
        "    from .ngptlab_nn_precision import wide as w",
        "    return w",
    ]
    assert imported == {
        "ngptlab.config": {"Dims"},
        "ngptlab.nn.decoder": {"Parts"},
        "ngptlab.nn.precision": {"wide"},
    }


def test_lines_end_where_python_ends_them() -> None:
    source = 'A = "\u2028"\n\x0c\nfrom ngptlab import Dims\nB = 1\n'
    made, _ = bundles._relative(source, "m")
    assert made == source.replace("ngptlab import", ".ngptlab_config import")


def test_a_second_copy_does_not_take_the_operators_place(tmp_path: Path) -> None:
    """torch keeps one operator of a name: a copy of attention.py under the same names would be called by ours."""
    assert operator("a.b+c", "f") == "a_b_c::f"
    for name, source in bundle(methods.load("gpt")).items():
        (tmp_path / name).write_text(source)
    package = tmp_path / "copied_model"
    package.mkdir()
    for name in ("fast_attention", "operators"):
        (package / f"ngptlab_nn_{name}.py").write_text((tmp_path / f"ngptlab_nn_{name}.py").read_text())
    (package / "__init__.py").write_text("")
    code = (
        "import torch, copied_model.ngptlab_nn_fast_attention as copy, ngptlab.nn.fast.attention as ours\n"
        "copy.torch = None  # breaks the copy, and whoever calls it\n"
        "x = torch.ones(1, 3, 1, 2)\n"
        "assert ours.attention_in_blocks(x, x, x, 1.0).equal(x)\n"
    )
    paths = f"{tmp_path}:{bundles.PACKAGE.parent}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": paths}, timeout=120
    )
    assert done.returncode == 0, done.stderr
    x = torch.ones(1, 3, 1, 2)
    assert _in_blocks(x, x, x, 1.0)[0].equal(x)
