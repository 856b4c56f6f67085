"""Scripts of examples/ run, and the notebooks beside them are these scripts, executed."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

import ngptlab

ROOT = Path(ngptlab.__file__).parent.parent
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))
MOST_BYTES = 200_000
CELL = re.compile(r"^# %%(?: \[(markdown)\])?$", re.MULTILINE)
STEPS = '"steps": 100'

by_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)


def cells(text: str) -> list[tuple[str, str]]:
    """The cells of a script in jupytext's percent format: kind and text."""
    _, *parts = CELL.split(text)
    found = []
    for kind, body in zip(parts[::2], parts[1::2], strict=True):
        lines = body.strip("\n").split("\n")
        plain = (
            "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)
            if kind
            else "\n".join(lines)
        )
        found.append((kind or "code", plain))
    return found


def problems(script: str, notebook: dict[str, Any]) -> list[str]:
    """What makes a notebook another one than its script, executed."""
    there = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    if there != cells(script):
        return ["other cells than the script's: give `make notebook`"]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    found = (
        [] if [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)] else ["not executed"]
    )
    outputs = [output for cell in code for output in cell["outputs"]]
    if any(output["output_type"] == "error" for output in outputs):
        found.append("an error")
    if re.search(r"(?<![\w.])/(?:home|root|tmp|work|Users)/", json.dumps(outputs)):
        found.append("a path of the machine that executed it")
    return found


@by_script
def test_a_notebook_is_its_script_executed(script: Path) -> None:
    path = script.with_suffix(".ipynb")
    assert path.stat().st_size < MOST_BYTES
    assert problems(script.read_text(), json.loads(path.read_text())) == []


@pytest.mark.extra
@by_script
def test_a_script_runs(script: Path, work: Path, corpus: Path, in_process: None) -> None:
    """With four steps on a small text, as it stands otherwise."""
    pytest.importorskip("pandas")
    text = script.read_text()
    assert STEPS in text and '"source": "stdlib"' in text
    small = text.replace(STEPS, '"steps": 4').replace('"every": 20', '"every": 2')
    (work / script.name).write_text(small.replace('"source": "stdlib"', f'"source": "text:{corpus}"'))
    ran = runpy.run_path(str(work / script.name))
    assert len(ran["runs"]) == 6 and list(ran["losses"].index) == [0, 2, 4]


def test_a_notebook_that_was_not_made_anew_is_found() -> None:
    script = "# %% [markdown]\n# # A\n#\n# b\n\n# %%\n1 + 1\n"
    code = {"cell_type": "code", "source": ["1 + 1"], "execution_count": 1, "outputs": []}
    text = {"cell_type": "markdown", "source": ["# A\n", "\n", "b"]}
    assert problems(script, {"cells": [text, code]}) == []
    for wrong in (
        {"cells": [text]},
        {"cells": [text, {**code, "source": ["1 + 2"]}]},
        {"cells": [text, {**code, "execution_count": None}]},
        {"cells": [text, {**code, "outputs": [{"output_type": "error"}]}]},
        {"cells": [text, {**code, "outputs": [{"output_type": "stream", "text": ["/home/me/x"]}]}]},
    ):
        assert problems(script, wrong), wrong
