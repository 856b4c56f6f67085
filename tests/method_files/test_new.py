"""`ngptlab new`: a file that runs as it stands, with every seam and what `Parts` says of it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from ngptlab import Dims, Parts, build_model, disk, methods
from ngptlab.cli import main
from ngptlab.method_files import draft, sources
from ngptlab.nn import blocks

DIMS = Dims(vocab_size=17, num_layers=1, num_heads=2, d_model=8)


@pytest.mark.parametrize("base", methods.names())
def test_the_file_is_the_base_s_table_but_for_the_example(
    base: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "my_idea", "--from", base]) == 0
    assert capsys.readouterr().out == "my_idea.py\n"
    parts, whole = methods.load(sources.given("./my_idea.py")), methods.load(base)
    assert replace(parts, attn_scale=whole.attn_scale) == whole
    model = build_model("./my_idea.py", DIMS)
    assert model.blocks[0].attn.scale == pytest.approx(1.25 * build_model(base, DIMS).blocks[0].attn.scale)
    text = (work / "my_idea.py").read_text()
    assert ast.get_docstring(ast.parse(text)).partition("\n")[0].endswith(".")  # type: ignore[union-attr]
    # A seam that the base leaves at its default is a comment.
    lines = [re.search(rf"\n    (# )?{seam.name}=", text) for seam in fields(Parts)]
    positions = [line.start() for line in lines if line]
    assert len(positions) == len(lines)
    assert positions == sorted(positions)


def test_what_a_seam_is_comes_from_the_docstrings_of_parts(work: Path) -> None:
    declared = draft.seams(disk.read_text(Path(str(blocks.__file__))))
    assert [seam.name for seam in declared] == [field.name for field in fields(Parts)]
    assert all(seam.meaning for seam in declared)
    more = 'class Parts:\n    a: Part\n    """What a is:\n    (x) -> y."""\n    b: Part = Plain()\n    """B."""\n'
    (a, b) = draft.seams(more)
    assert (a.meaning, b.default) == ("What a is: (x) -> y.", "Plain()")
    assert [(a.kind, b.kind)] == [("Part", "Part")]
    text = draft.draft("new", "old", "METHOD = Parts(a=A(1), attn_scale=S())", more)
    assert "    # What a is: (x) -> y.\n    a=A(1),\n    # B.\n    # b=Plain(),  (its default)\n" in text


def test_how_parts_are_built_comes_from_the_types_of_parts() -> None:
    table = disk.read_text(Path(str(blocks.__file__)))
    text = " ".join(
        draft.draft("new", "gpt", disk.read_text(methods.path("gpt")), table).replace("# ", "").split()
    )
    assert "One of block, attention, mlp has build(dims, parts, layer)." in text
    assert "mask, attn_out may have build_at(dims, layer) instead" in text


def test_it_is_formatted_as_the_package_is(work: Path) -> None:
    assert main(["new", "my_idea", "--from", "ngpt_scalar_scales"]) == 0
    settings = Path(__file__).parents[2] / "pyproject.toml"
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["format", "--check"], ["check", "--no-cache"]):
        done = subprocess.run(
            [*ruff, *command, "--config", str(settings), "my_idea.py"], capture_output=True, cwd=work
        )
        assert done.returncode == 0, done.stdout.decode()


def test_nothing_is_overwritten(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "my_idea.py").write_text("mine")
    assert main(["new", "my_idea", "--from", "gpt"]) == 2
    assert (work / "my_idea.py").read_text() == "mine"
    for name, base in (("gpt", "gpt"), ("my-idea", "gpt"), ("other", "gtp")):
        assert main(["new", name, "--from", base]) == 2
    said = capsys.readouterr().err
    assert (
        "my_idea.py: is there" in said and "did you mean 'gpt'?" in said and "letters, digits and _" in said
    )
