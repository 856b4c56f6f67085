"""A training is killed at random moments, goes on, and ends with the bytes of one that was not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from forking import METHODS, Child, Lab, Tally, difference, outcome

from ngptlab.disk import read_json
from ngptlab.errors import CheckpointError
from ngptlab.train.checkpoint import list_checkpoints, read_checkpoint, step_of

EVERY = 3
BESIDE: dict[str, Any] = {"checkpoint": {"every": EVERY, "asynchronous": "on"}}
"""What has a training go on while a checkpoint is written."""
SLOW = 0.003
"""Seconds that each of the ten waits of such a save takes longer, so that it takes about as long as the steps up to the next."""
MOST_KILLS = 4
"""Of one run, each in an attempt that went on from what the one before left."""


def kills(lab: Lab, tally: Tally, count: int, draw: random.Random, *, beside: bool = False) -> None:
    """SIGKILL at random times, `count` in all."""
    straight = [lab.straight(lab.config(method)) for method in METHODS]
    configs = [lab.config(method, **BESIDE if beside else {}) for method in METHODS]
    usual = max(seconds for _, seconds in straight)
    while tally.done < count:
        number = draw.randrange(len(configs))
        wanted, killed = straight[number][0], 0
        with lab.place(f"kill{tally.done}") as run:
            for _ in range(draw.randint(1, MOST_KILLS)):
                began = time.monotonic()
                child = lab.train(configs[number], run, slow=SLOW if beside else 0.0)
                time.sleep(draw.uniform(0, usual))
                child.send(signal.SIGKILL)
                if child.wait() == -signal.SIGKILL:
                    killed += 1
                    tally.add(left_whole(run, behind=beside), where(run))
                else:
                    usual = 0.7 * usual + 0.3 * (time.monotonic() - began)  # neighbours come and go
            began, child = time.monotonic(), lab.train(configs[number], run)
            problem = ended_as(child, run, wanted)
            usual = 0.9 * usual + 0.1 * (time.monotonic() - began) if killed else usual
            if problem:
                tally.wrong.append(f"{run.name}: {problem}")
                raise_on_many(tally)
                break_name(run)


def async_kills(lab: Lab, tally: Tally, count: int, draw: random.Random) -> None:
    """The same where checkpoints are written beside the training, to the bytes of one that waits for them."""
    kills(lab, tally, count, draw, beside=True)


def cli_kills(lab: Lab, tally: Tally, count: int, draw: random.Random) -> None:
    """The same through the command line, in processes that import everything anew."""
    config = lab.config("gpt", train={"steps": 400}, checkpoint={"every": 20}, eval={"every": 50})
    wanted, _ = lab.straight(config)
    command = [sys.executable, "-m", "ngptlab", "train", str(config), "--out"]
    quiet, env = subprocess.DEVNULL, os.environ | {"OMP_NUM_THREADS": "1"}
    while tally.done < count:
        with lab.place(f"cli{tally.done}") as run:
            for _ in range(min(5, count - tally.done)):
                process = subprocess.Popen([*command, str(run)], env=env, stdout=quiet, stderr=quiet)
                # Half of the kills come while modules are imported, or soon after; half after the first records.
                if draw.random() < 0.7:
                    before = len(lines(run))
                    until = time.monotonic() + 60
                    while len(lines(run)) <= before and process.poll() is None and time.monotonic() < until:
                        time.sleep(0.01)
                time.sleep(draw.uniform(0, 1.0))
                process.kill()
                if process.wait() == -signal.SIGKILL:
                    tally.add(left_whole(run, every=20), where(run))
            done = subprocess.run([*command, str(run)], env=env, capture_output=True, text=True)
            problem = done.stderr if done.returncode else difference(outcome(run), wanted)
            if problem:
                tally.wrong.append(f"{run.name}: {problem}")
                raise_on_many(tally)
                break_name(run)


def ended_as(child: Child, run: Path, wanted: dict[str, bytes]) -> str:
    """What is wrong with a run that was to go on to its end."""
    try:
        code = child.wait()
    except TimeoutError as error:
        return str(error)
    if code:
        return f"code {code}: {child.last_word}"
    if read_json(run / "summary.json")["status"] != "done":
        return "ended, but its summary does not say done"
    return difference(outcome(run), wanted)


def left_whole(run: Path, every: int = EVERY, *, behind: int = 0) -> str:
    """What is wrong in a run's folder after a kill: a published checkpoint that is not whole, or more than an interval lost.

    `behind`: intervals that may be lost besides, because a checkpoint is written while the steps to the next one are made.
    """
    newest = 0
    for path in list_checkpoints(run / "checkpoints"):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            return f"{run.name}: {error}"
        newest = step_of(path)
    recorded = len(lines(run))
    # A step is recorded after the one before it was saved, where that was due.
    owed = max(0, max(0, recorded - 1) // every - behind) * every
    return f"{run.name}: {recorded} steps recorded, saved {newest}" if newest < owed else ""


def lines(run: Path) -> list[bytes]:
    """The whole lines of a run's metrics."""
    path = run / "metrics.jsonl"
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def where(run: Path) -> str:
    """In what a kill fell, as the folder shows it."""
    if not (run / "config.json").exists():
        return "before the run's folder"
    if (run / "summary.json").exists():
        return "after the end"
    if [path for path in run.rglob(".*") if path.name.endswith(".tmp")]:
        return "while a file or a checkpoint was written"
    return "between steps" if lines(run) else "before the first step"


def raise_on_many(tally: Tally) -> None:
    """Whatever fails a hundred times is known by then, and each leaves a folder."""
    if len(tally.wrong) >= 100:
        raise RuntimeError(f"{tally.kind}: a hundred trials went wrong; the first: {tally.wrong[0]}")


def break_name(run: Path) -> None:
    """Keep the folder of a trial that went wrong."""
    if run.exists():
        run.rename(run.with_name(f"wrong-{run.name}-{time.monotonic_ns()}"))
