"""Several commands on one folder in the same moment: none spoils it, and each is told what is so."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.data.shards.verify import verify
from ngptlab.errors import ConfigError, LabError
from ngptlab.folders import filling
from ngptlab.jobs.local import alone
from ngptlab.runs import Run

START_ALL = """
import json, os, sys, tempfile
import ngptlab.cli, ngptlab.compare, ngptlab.trained, ngptlab.measure.val.verb, ngptlab.export.write
import ngptlab.data.prepare.out_folder

commands, ready, children = json.loads(sys.argv[1]), os.pipe(), []
for command in commands:
    files = [tempfile.TemporaryFile() for _ in range(2)]
    child = os.fork()
    if child == 0:
        os.close(ready[1])
        os.dup2(files[0].fileno(), 1), os.dup2(files[1].fileno(), 2)
        os.read(ready[0], 1)  # ends in all of them at once
        code = ngptlab.cli.main(command)
        sys.stdout.flush()
        os._exit(code)
    children.append((child, files))
os.close(ready[1])
told = []
for child, files in children:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for file in files:
        file.seek(0)
    told.append([code, *(file.read().decode() for file in files)])
print(json.dumps(told))
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def last_word(self) -> str:
        return self.err.strip().splitlines()[-1]


def at_once(*commands: list[str]) -> list[Ended]:
    """Run command lines in processes that begin together, forked from one that has torch."""
    call = [sys.executable, "-c", START_ALL, json.dumps(commands)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return [Ended(*each) for each in json.loads(done.stdout)]


def no_leftovers(folder: Path) -> bool:
    return not [path for path in folder.rglob(".*") if path.suffix == ".tmp"]


def forked(*works: Callable[[], object]) -> list[int]:
    """Do small work, without torch, in processes that begin together; 0, or 1 where it raised a LabError."""
    ready, children = os.pipe(), []
    for work in works:
        child = os.fork()
        if child == 0:
            code = 9
            with contextlib.suppress(BaseException):
                os.close(ready[1])
                os.read(ready[0], 1)
                try:
                    work()
                    code = 0
                except LabError:
                    code = 1
            os._exit(code)
        children.append(child)
    os.close(ready[0])
    os.close(ready[1])
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_one_of_many_first_starts_writes_the_config(
    make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    for turn in range(3):
        path = tmp_path / f"run{turn}"
        configs = [make_config(optim={"lr": 2.0**-power}) for power in range(1, 9)]
        codes = forked(*(partial(Run.open, path, config) for config in configs))
        assert Counter(codes) == {0: 1, 1: 7}
        assert Run(path).config.hash == configs[codes.index(0)].hash
        assert forked(*[partial(Run.open, path, Run(path).config)] * 4) == [0] * 4
        assert [entry.name for entry in path.iterdir()] == ["config.json"]


def test_results_written_at_once(make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", make_config())
    results = [{"step": number, "values": [number] * 1000} for number in range(20)]
    assert forked(*(partial(run.keep_eval, "val", result) for result in results)) == [0] * 20
    assert json.loads((run.path / "evals" / "val.json").read_text()) in results
    assert no_leftovers(run.path)


@pytest.mark.slow
def test_a_run_is_begun_once(tiny: list[str], work: Path) -> None:
    ended = at_once(*[["train", "demo", *tiny, "--train.steps", "40", "--out", "run"]] * 6)
    codes = Counter(each.code for each in ended)
    assert codes[0] >= 1 and codes[0] + codes[2] == 6
    for each in ended:
        if each.code:
            assert each.last_word == (
                "ngptlab: run: another process is training this run; wait for it or stop it"
            )
    run = Run(work / "run")
    assert run.done and [record["step"] for record in run.read("metrics")] == list(range(1, 41))
    assert no_leftovers(work)


@pytest.mark.slow
def test_two_configs_never_share_a_run(tiny: list[str], work: Path) -> None:
    """One of them has the folder; all others hear what it holds, or that it is at work."""
    ended = at_once(
        *(["train", "demo", *tiny, "--optim.lr", f"0.00{lr}", "--out", "run"] for lr in range(1, 7))
    )
    (winner,) = [number for number, each in enumerate(ended) if each.code == 0]
    assert Run(work / "run").config.optim.lr == float(f"0.00{winner + 1}")
    for each in ended:
        if each.code:
            assert each.code == 2 and "run: holds another run (optim.lr" in each.last_word, each.err


@pytest.mark.slow
def test_evaluations_of_one_run(tiny: list[str], work: Path) -> None:
    assert main(["train", "demo", *tiny, "--out", "run"]) == 0
    ended = at_once(*[["eval", "run", "--evals", "val"]] * 20)
    assert [each.code for each in ended] == [0] * 20, [each.err for each in ended if each.code]
    assert len({each.out for each in ended}) == 1
    assert json.loads((work / "run" / "evals" / "val.json").read_text())["step"] == 6
    assert no_leftovers(work)


@pytest.mark.slow
def test_comparisons_and_exports(tiny: list[str], work: Path) -> None:
    compare = ["compare", "demo", *tiny, "--methods", "gpt", "--out", "out"]
    ended = at_once(*[compare] * 4)
    assert sum(each.code == 0 for each in ended) >= 1
    for each in ended:
        assert each.code == 0 or "another process is training this run" in each.last_word, each.err
    (run,) = (work / "out" / "runs").iterdir()
    ended = at_once(*[["export", str(run), "model"]] * 5)
    assert sorted(each.code for each in ended) == [0, 2, 2, 2, 2]
    assert {each.last_word for each in ended if each.code} == {
        "ngptlab: model: is there and not empty; give a new folder"
    }
    ended = at_once(*[["import", "model", "back"]] * 5)
    assert [each.code for each in ended].count(0) == 1
    for each in ended:
        assert each.code == 0 or "is there and not empty" in each.err or "another process" in each.err
    values = [record for record in Run(work / "back").read("evals") if record["eval"] == "val"]
    assert len(values) <= len({record["step"] for record in values})
    assert no_leftovers(work)


def test_preparations(corpus: Path, work: Path) -> None:
    prepare = [
        "data",
        "prepare",
        str(corpus),
        "--out",
        "shards",
        "--tokenizer",
        "bytes",
        "--val-share",
        "0.3",
    ]
    ended = at_once(*[prepare] * 8)
    assert sum(each.code == 0 for each in ended) >= 1
    for each in ended:
        assert each.code == 0 or each.last_word == (
            "ngptlab: shards: another process is at work there; wait for it or end it"
        )
    assert verify(work / "shards").manifest.splits["train"].documents
    assert no_leftovers(work)


def test_sweeps_of_one_folder(tmp_path: Path) -> None:
    """Cells are their own processes: the folder's lock is what keeps two apart."""
    other = pytest.raises(ConfigError, match="another command is training there")
    with alone(tmp_path), other, alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_what_killed_writers_left_goes_under_the_lock(
    make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    run = Run.open(tmp_path / "run", make_config())
    left = [run.path / f".{name}.{'a' * 16}.tmp" for name in ("summary.json", "checkpoints")]
    left.append(run.path / "checkpoints" / f".step_000003.{'b' * 16}.tmp")
    for folder in left[1:]:
        folder.mkdir(parents=True)
    left[0].write_text("{")
    somebodys = run.path / ".notes.tmp"
    somebodys.write_text("mine")
    with run.lock(), pytest.raises(LabError, match="another process"), run.lock():
        pass
    assert not any(path.exists() for path in left) and somebodys.read_text() == "mine"


def test_a_writers_folder_is_left_to_it(tmp_path: Path) -> None:
    with filling(tmp_path / "out") as live:
        (live / "file").write_text("1")
        os.utime(live, (1, 1))
        dead, young = (tmp_path / f".out.{letter * 16}.tmp" for letter in "ab")
        for folder in (dead, young):
            folder.mkdir()
        os.utime(dead, (1, 1))
        with pytest.raises(KeyError), filling(tmp_path / "out"):
            raise KeyError
        assert live.exists() and young.exists() and not dead.exists()
    assert (tmp_path / "out" / "file").read_text() == "1"
