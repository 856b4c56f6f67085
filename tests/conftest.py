"""Tiny runs on a tiny corpus, in a cache of their own, on one thread."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch

from damaged_runs import trained  # noqa: F401  a fixture
from made_runs import make_run  # noqa: F401  a fixture
from ngptlab.config import RunConfig
from ngptlab.errors import DivergedError, LabError
from ngptlab.experiment import train
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.local import Local, prepare
from ngptlab.jobs.outcome import outcome as outcome_of
from no_network import nothing_leaves, wall  # noqa: F401  fixtures
from tiny import tiny_config, write_texts


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A script's shell has what it starts in the background ignore SIGINT, and so would all that the tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """At these sizes a second thread only waits, and sums come out in the same order everywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the folder itself isn't there yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("NGPTLAB_CACHE", str(folder))
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a terminal wide enough that no table folds."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "150")
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Forty files of 60 to 400 bytes."""
    return write_texts(tmp_path / "texts")


@pytest.fixture
def make_config(corpus: Path) -> Callable[..., RunConfig]:
    """A resolved config of a run of some tenths of a second; `changes` are by section."""
    return partial(tiny_config, corpus)


@pytest.fixture
def outcome() -> Callable[[Path], dict[str, bytes]]:
    """The bytes in which a resumed run must equal an uninterrupted one."""

    def read(run: Path) -> dict[str, bytes]:
        last = sorted((run / "checkpoints").glob("step_*"))[-1]
        paths = [run / "metrics.jsonl", run / "evals.jsonl"]
        paths += [path for path in [run / "scales.jsonl"] if path.exists()]
        paths += [last / "model.safetensors", last / "optimizer.safetensors"]
        return {"last": last.name.encode(), **{path.name: path.read_bytes() for path in paths}}

    return read


@pytest.fixture
def tiny(corpus: Path) -> list[str]:
    """The demo recipe shrunk by overrides to a run of some tenths of a second."""
    fields = {
        "data.source": f"text:{corpus}",
        "data.val-share": "0.2",
        "data.long-share": "0.3",
        "model.num-layers": "1",
        "model.num-heads": "2",
        "model.d-model": "16",
        "train.steps": "6",
        "train.batch-size": "4",
        "train.context": "16",
        "eval.every": "3",
        "eval.val-tokens": "64",
        "eval.length-factor": "2",
        "eval.length-documents": "3",
        "device.kind": "cpu",
        "device.threads": "1",
    }
    return [part for field, value in fields.items() for part in (f"--{field}", value)]


class InProcess:
    """An executor that trains here: a process with torch for each cell takes seconds."""

    def prepare(self, cells: Sequence[Cell], out: Path) -> None:
        prepare(cells, out)

    def train(self, cells: Sequence[Cell], out: Path, request: object) -> dict[str, str]:
        failures = {}
        for cell in cells:
            if outcome_of(cell, out).over:
                continue
            if (gate := getattr(self, "gate", None)) and not gate.holds(1):
                break
            try:
                train(cell.config, run_of(out, cell))
            except DivergedError:
                pass
            except LabError as error:
                failures[cell.config.hash] = str(error)
        return failures


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line trains by `Local` is trained here."""
    monkeypatch.setattr(Local, "train", InProcess.train)
