"""A disk that is full at any byte: the checkpoint before stays, a message says what had no room, and with room work goes on."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from crash_disk import recording
from forking import Lab, Tally, start
from kill_trials import BESIDE, break_name, ended_as, raise_on_many

from ngptlab.cli import main
from ngptlab.errors import CheckpointError
from ngptlab.train.checkpoint import list_checkpoints, read_checkpoint, step_of
from ngptlab.train.saves import Saves

PAGE = 4096
SAVED = 6
"""Step of the newest checkpoint when room gets short."""
BYTES = 320_000
"""A checkpoint has 140 kB, and two more are saved."""
MESSAGE = re.compile(r"No space left on device \((\d+ bytes to write, )?\d+ free\)")


def async_full_disks(lab: Lab, tally: Tally, count: int, draw: random.Random) -> None:
    """The same where checkpoints are written beside the training."""
    full_disks(lab, tally, count, draw, beside=True)


def full_disks(lab: Lab, tally: Tally, count: int, draw: random.Random, *, beside: bool = False) -> None:
    """So many levels: of a small disk where one can be mounted, and of a count of the bytes that are written."""
    plain = lab.config("gpt")
    (wanted, _), begun, disk = lab.straight(plain), half_trained(lab, plain), small_disk(lab)
    config = lab.config("gpt", **BESIDE) if beside else plain
    while tally.done < count:
        mounted = disk is not None and tally.done % 2 == 0
        with lab.place(f"full{tally.done}") as place:
            run = disk / "run" if mounted and disk else place
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(begun, run)
            if mounted and disk:
                leave(disk, draw.randrange(BYTES // PAGE) * PAGE)
                child = lab.train(config, run)
            else:
                budget = draw.randrange(BYTES)

                def within(budget: int = budget, run: Path = run) -> int:
                    with recording(run.parent) as recorder:
                        recorder.room = budget
                        return main(["train", str(config), "--out", str(run)])

                child = start(within, run.with_name(f"{run.name}.log"))
            problem, fact = ended_full(child.wait(), run, child.last_word)
            if mounted and disk:
                (disk / "ballast").unlink(missing_ok=True)
            problem = problem or ended_as(lab.train(config, run), run, wanted)
            tally.add(
                f"{place.name}: {problem}" if problem else "",
                fact,
                "on a small disk" if mounted else "by a count of bytes",
            )
            if problem:
                raise_on_many(tally)
                break_name(run)


def ended_full(code: int, run: Path, last_word: str) -> tuple[str, str]:
    """What is wrong with how a training ended for want of room, and what there was room for."""
    for path in list_checkpoints(run / "checkpoints"):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            return str(error), "damage"
    if step_of(list_checkpoints(run / "checkpoints")[-1]) < SAVED:
        return "the checkpoint before is gone", "damage"
    if code == 0:
        return "", "room for all"
    found = MESSAGE.search(last_word)
    if code != 2 or not found or str(run) not in last_word:
        return f"code {code}: {last_word}", "room for less"
    if hidden := [path.name for path in run.rglob(".*") if path.name.endswith(".tmp")]:
        return f"left {hidden}", "room for less"
    return "", "told how much had no room" if found[1] else "told that there was no room"


def half_trained(lab: Lab, config: Path) -> Path:
    """A run that was stopped when it had saved two checkpoints."""
    run = lab.folder / "begun"
    if run.exists():
        return run

    def stops() -> int:
        save = Saves._write

        def stopping(self: Saves, step: int, *given: Any) -> None:
            save(self, step, *given)
            if step == SAVED:
                os.kill(os.getpid(), signal.SIGKILL)

        Saves._write = stopping  # type: ignore[method-assign]
        return main(["train", str(config), "--out", str(run)])

    child = start(stops, lab.folder / "begun.log")
    assert child.wait() == -signal.SIGKILL, child.told
    return run


def small_disk(lab: Lab) -> Path | None:
    """A disk of three megabytes; None where none can be mounted."""
    folder = lab.folder / "disk"
    if folder.exists():
        return folder if os.path.ismount(folder) else None
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        return None
    return folder


def release(folder: Path) -> None:
    """Give the small disk of a folder of trials back, if it has one."""
    if os.path.ismount(folder / "disk"):
        subprocess.run(["umount", "-l", str(folder / "disk")], capture_output=True)


def leave(disk: Path, free: int) -> None:
    """Fill a disk, but for so many bytes in whole pages."""
    status = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - free)))
