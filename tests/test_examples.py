"""Scripts of examples/ run, and the notebooks beside them are these scripts, executed. Files for clusters have sound commands."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import ngptlab
from ngptlab.cli import parse
from ngptlab.recipes import recipe

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


# --- files for clusters -----------------------------------------------------------------------------------------------

SBATCH = ROOT / "examples" / "fineweb_162m_8gpu.sbatch"
SKY = ROOT / "examples" / "fineweb_162m_8gpu.sky.yaml"
GPUS = 8
NAMED = re.compile(r"(?:^|\s)(?:\S*/|-m )?ngptlab ((?:data|train|report|submit) [^`&\n]*)", re.MULTILINE)
FOR = re.compile(r"^\s*for (\w+) in ([\w ]+); do", re.MULTILINE)


def told_commands(script: str) -> list[list[str]]:
    """The commands of ours in a script, comments included, with every value of a loop's variable."""
    loops = dict(FOR.findall(script))
    found = []
    for line in NAMED.findall(script):
        words = shlex.split(line.partition("   ")[0])
        named = next((name for name in loops if f"${name}" in line), None)
        for value in loops[named].split() if named else [""]:
            found.append([word.replace(f"${named}", value) if named else word for word in words])
    return found


def scripts_of(path: Path) -> str:
    """What a shell runs of a file, and its comments."""
    text = path.read_text(encoding="utf-8")
    if path == SBATCH:
        return text
    task = yaml.safe_load(text)
    assert set(task) == {"name", "workdir", "resources", "file_mounts", "setup", "run"}
    return f"{task['setup']}\n{task['run']}"


@pytest.mark.parametrize("path", [SBATCH, SKY], ids=["slurm", "sky"])
def test_commands_for_clusters_are_understood(path: Path, work: Path) -> None:
    """By our own command line, with the fields of the config; and the shell reads the rest."""
    script = scripts_of(path)
    commands = told_commands(script)
    assert {words[0] for words in commands} >= {"data", "train", "report"}
    for words in commands:
        asked = parse(words)
        assert not hasattr(asked, "plan")
    trained = [words[words.index("--method") + 1] for words in commands if words[0] == "train"]
    assert trained == list(recipe("fineweb-162m").methods), "the arms of the recipe"
    assert re.findall(r"--nproc-per-node (\d+)", script) == [str(GPUS)]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_files_for_clusters_ask_for_8_gpus_that_divide_the_batch() -> None:
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", SBATCH.read_text(), re.MULTILINE))
    assert asked["gpus-per-node"] == str(GPUS) and "requeue" in asked and asked["signal"] == "B:USR2@120"
    assert yaml.safe_load(SKY.read_text())["resources"]["accelerators"].endswith(f":{GPUS}")
    config = recipe("fineweb-162m").config
    assert config.train.batch_size % (GPUS * config.device.micro_batch) == 0


def test_a_wrong_command_of_a_cluster_is_found(work: Path) -> None:
    script = SBATCH.read_text()
    for before, after in (
        ("ngptlab train fineweb-162m", "ngptlab train fineweb-163m"),
        ("--out out", "--uot out"),
    ):
        assert before in script
        with pytest.raises(ValueError):
            for words in told_commands(script.replace(before, after)):
                parse(words)


FAKES = {
    "torchrun": "trap 'echo saved >> log; exit 143' TERM\necho begun >> log\nwhile true; do sleep 0.1; done\n",
    "scontrol": 'echo "scontrol $*" >> log\n',
    "ngptlab": 'echo "ngptlab $*" >> log\n',
}


def test_the_script_saves_and_requeues_when_its_time_is_up(tmp_path: Path) -> None:
    """With stand-ins for torchrun, which hears the signal, and for Slurm."""
    for name, text in FAKES.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}")
        (tmp_path / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    script = subprocess.Popen(["bash", str(SBATCH)], cwd=tmp_path, env=environment)
    log, until = tmp_path / "log", time.monotonic() + 30
    while not log.exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    script.send_signal(signal.SIGUSR2)
    assert script.wait(30) == 0
    assert log.read_text().splitlines() == ["begun", "saved", "scontrol requeue 7"]
