"""Two processes train one run. One is killed, frozen or without room: the other ends, and both go on to the same bytes."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from pathlib import Path

from crash_disk import recording
from forking import Child, Lab, Tally, difference, outcome, start
from kill_trials import break_name, left_whole, lines, raise_on_many

from ngptlab.cli import main

PATIENCE = 60.0
"""Seconds in which the other process must have ended. It waits two or so for one that was killed, `FROZEN` for a frozen one."""
FROZEN = 4


def launch(lab: Lab, config: Path, run: Path, *, full: int | None = None) -> list[Child]:
    """Two processes with the environment that torchrun gives; the first has room for `full` bytes."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]

    def of_rank(rank: int) -> Child:
        def work() -> int:
            names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
            os.environ |= dict(zip(names, map(str, (rank, rank, 2, 2, "127.0.0.1", port)), strict=True))
            command = ["train", str(config), "--out", str(run), "--device.timeout", str(FROZEN)]
            if full is None or rank:
                return main(command)
            with recording(run) as recorder:
                recorder.room = full
                return main(command)

        return start(work, run.with_name(f"{run.name}.{rank}.log"))

    return [of_rank(rank) for rank in range(2)]


def _config(lab: Lab, **checkpoint: str) -> Path:
    return lab.config("gpt", train={"steps": 40}, checkpoint={"every": 5, **checkpoint}, eval={"every": 10})


def _straight(lab: Lab, config: Path) -> dict[str, bytes]:
    run = lab.folder / "straight-of-two"
    if not run.exists():
        children = launch(lab, config, run)
        assert [child.wait() for child in children] == [0, 0], [child.told for child in children]
    return outcome(run)


def rank_kills(lab: Lab, tally: Tally, count: int, draw: random.Random) -> None:
    """SIGKILL of each process in turn."""
    _trials(lab, tally, count, draw, signal.SIGKILL)


def async_rank_kills(lab: Lab, tally: Tally, count: int, draw: random.Random) -> None:
    """The same where the first process writes checkpoints beside the training."""
    _trials(lab, tally, count, draw, signal.SIGKILL, beside=True)


def frozen_ranks(lab: Lab, tally: Tally, count: int, draw: random.Random) -> None:
    """SIGSTOP of each process in turn, and SIGKILL when the other has ended."""
    _trials(lab, tally, count, draw, signal.SIGSTOP)


def async_full_ranks(lab: Lab, tally: Tally, count: int, draw: random.Random) -> None:
    """The same where it writes checkpoints beside the training."""
    full_ranks(lab, tally, count, draw, beside=True)


def full_ranks(lab: Lab, tally: Tally, count: int, draw: random.Random, *, beside: bool = False) -> None:
    """No room for the first process, which has the files."""
    wanted = _straight(lab, _config(lab))
    config = _config(lab, asynchronous="on") if beside else _config(lab)
    while tally.done < count:
        with lab.place(f"{tally.kind}{tally.done}") as run:
            run.mkdir()
            children = launch(lab, config, run, full=draw.randrange(20_000, 600_000))
            codes = [child.wait(PATIENCE) for child in children]
            told = children[0].last_word
            problem = (
                "" if codes[0] == 2 and "No space left" in told and codes[1] else f"codes {codes}: {told}"
            )
            _conclude(lab, tally, config, run, wanted, problem, "the first without room")


def _trials(
    lab: Lab,
    tally: Tally,
    count: int,
    draw: random.Random,
    number: signal.Signals,
    *,
    beside: bool = False,
) -> None:
    wanted = _straight(lab, _config(lab))
    config = _config(lab, asynchronous="on") if beside else _config(lab)
    while tally.done < count:
        rank = tally.done % 2
        with lab.place(f"{tally.kind}{tally.done}") as run:
            children = launch(lab, config, run)
            until = time.monotonic() + PATIENCE
            steps = draw.randrange(1, 36)
            while len(lines(run)) < steps and time.monotonic() < until:
                time.sleep(0.002)
            children[rank].send(number)
            other = children[1 - rank]
            try:
                code = other.wait(PATIENCE)
                problem = f"the other ended with code {code}: {other.last_word}" if code <= 0 else ""
            except TimeoutError:
                problem = "the other waits for ever"
            children[rank].send(signal.SIGKILL)
            children[rank].wait()
            problem = problem or left_whole(run, every=5, behind=beside)
            _conclude(lab, tally, config, run, wanted, problem, f"process {rank}")


def _conclude(
    lab: Lab, tally: Tally, config: Path, run: Path, wanted: dict[str, bytes], problem: str, fact: str
) -> None:
    """Both begin anew, and end as those that nothing happened to."""
    if not problem:
        again = launch(lab, config, run)
        codes = [child.wait() for child in again]
        problem = (
            f"then codes {codes}: {again[0].last_word}" if any(codes) else difference(outcome(run), wanted)
        )
    tally.add(f"{run.name}: {problem}" if problem else "", fact)
    if problem:
        raise_on_many(tally)
        break_name(run)
