"""Make the notebooks of a folder from its scripts, executed, with their outputs: `python docs/site/notebooks.py examples`.

A script is in jupytext's percent format. It runs in an empty folder, so that no output names a place of this machine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

MOST_BYTES = 200_000
SECONDS = 1800
"""Of a cell, on a machine that has other work too."""


def build(script: Path) -> Path:
    """Run a script's cells and write the notebook beside it.

    Raises:
        CellExecutionError: a cell failed.
        ValueError: the notebook is too large to be committed.
    """
    notebook = jupytext.read(script, fmt="py:percent")
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}}).execute()
    for number, cell in enumerate(notebook.cells):
        cell.metadata.clear()  # times of execution, which are never the same twice
        cell.id = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.NotebookNode(kernelspec=kernel, language_info={"name": "python"})
    text = nbformat.writes(notebook) + "\n"
    if len(text) > MOST_BYTES:
        raise ValueError(f"{script}: its notebook has {len(text):,} bytes; show less, at most {MOST_BYTES:,}")
    path = script.with_suffix(".ipynb")
    path.write_text(text)
    return path


if __name__ == "__main__":
    for each in sorted(Path(sys.argv[1]).glob("*.py")):
        build(each)
