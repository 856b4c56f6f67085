"""Faults of processes that torchrun started: killed, frozen, stopped, in error. One message each, and what was saved goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ngptlab import methods
from ngptlab.config import RunConfig, dump
from ngptlab.experiment import train
from ngptlab.train.checkpoint import list_checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MakeConfig = Callable[..., RunConfig]
Outcome = Callable[[Path], dict[str, bytes]]
STEPS = 300


@dataclass
class Launched:
    """A torchrun, and the run that it trains."""

    process: subprocess.Popen[str]
    run: Path

    def wait_for(self, steps: int) -> None:
        metrics, until = self.run / "metrics.jsonl", time.monotonic() + 120
        while not metrics.exists() or len(metrics.read_bytes().splitlines()) < steps:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            time.sleep(0.05)

    def pid(self, rank: int) -> int:
        """The process of this number."""
        for entry in Path("/proc").iterdir():
            try:
                status, environment = (entry / "stat").read_text(), (entry / "environ").read_bytes()
            except OSError:
                continue
            parent = int(status.rpartition(")")[2].split()[1])
            if parent == self.process.pid and f"RANK={rank}".encode() in environment.split(b"\0"):
                return int(entry.name)
        raise AssertionError(f"no process {rank}")

    def end(self, seconds: float) -> tuple[int, list[str]]:
        """torchrun's exit code, and all lines that are ours and don't tell of progress."""
        _, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, [
            line for line in err.splitlines() if re.match(r"(\[process \d+\] )?ngptlab: ", line)
        ]


@pytest.fixture
def launch(make_config: MakeConfig, tmp_path: Path) -> Callable[..., Launched]:
    def start(*more: str, options: tuple[str, ...] = (), path: Path | None = None, **env: str) -> Launched:
        config = make_config(train={"steps": STEPS}, checkpoint={"every": 50}, eval={"every": 150})
        (tmp_path / "config.json").write_text(dump(config))
        run = tmp_path / "run"
        flags = ("--standalone", "--nproc-per-node", "2", "--monitor-interval", "0.2", *options)
        command = [sys.executable, "-m", "torch.distributed.run", *flags]
        command += ["-m", "ngptlab", "train", str(tmp_path / "config.json"), "--out", str(run), *more]
        paths = [str(Path(methods.__file__).parents[2]), *([str(path)] if path else [])]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)} | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return Launched(process, run)

    return start


LATE = """
import os, time
if os.environ.get("RANK") == "1" and os.environ.get("TORCHELASTIC_RESTART_COUNT") not in (None, "0"):
    time.sleep(6)
"""
"""The second process is late after a restart, so that the first one finds an old address of it, if there is one."""


@pytest.mark.parametrize("switch", ["0", "1"])
def test_killed_processes_go_on_from_the_newest_checkpoint(
    switch: str,
    launch: Callable[..., Launched],
    make_config: MakeConfig,
    outcome: Outcome,
    tmp_path: Path,
) -> None:
    """With the store that torchrun keeps, and with one that dies with the first process."""
    straight = make_config(
        train={"steps": STEPS}, checkpoint={"every": 50}, eval={"every": 150}, device={"micro_batch": 2}
    )
    (tmp_path / "sitecustomize.py").write_text(LATE)
    started = launch(
        options=("--max-restarts", "3"), path=tmp_path, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=switch
    )
    for rank, steps in ((1, 70), (0, 170)):
        started.wait_for(steps)
        os.kill(started.pid(rank), signal.SIGKILL)
        time.sleep(1.0)
    code, said = started.end(300)
    assert code == 0, said
    assert outcome(started.run) == outcome(train(straight, tmp_path / "straight").path)
    assert [line for line in said if "another process of this run ended" not in line] == []


def test_a_sharded_run_that_is_killed_and_stopped_ends_as_a_plain_one(
    launch: Callable[..., Launched], make_config: MakeConfig, outcome: Outcome, tmp_path: Path
) -> None:
    """Killed where the state of some parameters was, then stopped by a signal that one process gets."""
    straight = make_config(
        train={"steps": STEPS}, checkpoint={"every": 50}, eval={"every": 150}, device={"micro_batch": 2}
    )
    started = launch("--device.shard", "optimizer", options=("--max-restarts", "3"))
    for rank, steps, number in ((1, 70, signal.SIGKILL), (0, 170, signal.SIGTERM)):
        started.wait_for(steps)
        os.kill(started.pid(rank), number)
        time.sleep(1.0)
    code, said = started.end(300)
    assert code == 0, said
    assert outcome(started.run) == outcome(train(straight, tmp_path / "straight").path)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_frozen_process_is_an_error_in_time(rank: int, launch: Callable[..., Launched]) -> None:
    started = launch("--device.timeout", "5")
    started.wait_for(60)
    frozen, other = started.pid(rank), Path("/proc") / str(started.pid(1 - rank)) / "cmdline"
    os.kill(frozen, signal.SIGSTOP)
    begun = time.monotonic()
    while other.exists() and other.read_bytes():  # a process that has ended has no command line
        assert time.monotonic() - begun < 60, "without --device.timeout it takes 600 s"
        time.sleep(0.1)
    os.kill(frozen, signal.SIGKILL)  # as torchrun does half a minute later
    code, said = started.end(60)
    assert code != 0
    assert len(said) == 1 and "didn't answer for 5 s (--device.timeout)" in said[0]
    # What is frozen can write nothing.
    if rank == 1:
        assert json.loads((started.run / "summary.json").read_text())["error"] == "WorldError"
    assert list_checkpoints(started.run / "checkpoints")


FAILING = """
import os
from ngptlab.methods.gpt import METHOD as BASE
from dataclasses import dataclass, replace
from ngptlab.nn.structure import Loss

class Counting(Loss):
    calls = 0
    def forward(self, h_BTD, rows_VD, targets_BT, logits_map):
        Counting.calls += 1
        if Counting.calls == 40 and os.environ.get("RANK") == "{rank}":
            raise ValueError("forty is too many")
        return super().forward(h_BTD, rows_VD, targets_BT, logits_map)

@dataclass(frozen=True)
class Counted:
    def build(self, dims):
        return Counting()

METHOD = replace(BASE, loss=Counted())
"""


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_one_process_is_said_once(
    rank: int, launch: Callable[..., Launched], tmp_path: Path
) -> None:
    """In somebody's own method, which is trained up to there."""
    (tmp_path / "mine.py").write_text(FAILING.replace("{rank}", str(rank)))
    started = launch("--method", "./mine.py")
    code, said = started.end(120)
    assert code != 0 and len(said) == 1 and "forty is too many" in said[0]
    assert said[0].startswith("[process 1] ") == (rank == 1)
    assert len((started.run / "metrics.jsonl").read_bytes().splitlines()) == 39


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_torchrun_saves(
    number: signal.Signals, launch: Callable[..., Launched], outcome: Outcome
) -> None:
    started = launch()
    started.wait_for(60)
    started.process.send_signal(number)
    code, said = started.end(90)
    assert code != 0 and len(said) == 1 and f"stopped by {number.name} after step" in said[0]
    step = json.loads((started.run / "summary.json").read_text())["step"]
    assert list_checkpoints(started.run / "checkpoints")[-1].name == f"step_{step:06d}"
