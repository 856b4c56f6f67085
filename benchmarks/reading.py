"""Reading batches beside the training step that consumes them, and the memory that reading takes.

    python -m benchmarks.reading [--turns 15] [--out FILE]

Batches and steps of the 7M model take turns, so that what slows the machine slows both. Reading shall be at least 100
times faster. For the memory, a fresh process reads the same number of batches from a small corpus and from large ones:
its own memory must not grow with the corpus. Pages of mapped files are counted apart; the system takes them back when it
needs them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.io import random_batches, seconds_of
from benchmarks.machine import Spread, ratios, table, write
from benchmarks.sizes import SIZES, Size
from benchmarks.steps import bench_device, ours
from ngptlab.data.batches import Batches
from ngptlab.data.shards.format import FORMATS, HEADER_BYTES, header
from ngptlab.data.shards.stream import TokenStream
from ngptlab.methods import names

SIZE = "gpt2-7m"
BATCHES_A_TURN = 100
RESIDENT_TOKENS = (10_000_000, 100_000_000, 1_000_000_000)
RESIDENT_BATCHES = 2000
MEBI = 2**20


@dataclass(frozen=True)
class Resident:
    """What a process's memory grew by while it read, in MiB."""

    corpus_tokens: int
    own: float
    """Memory of its own."""
    mapped: float
    """Pages of the shards."""


def beside_steps(size: Size, folder: Path, turns: int) -> tuple[Spread, Spread, Spread]:
    """Seconds of a step and of a batch, and how many times longer the step takes."""
    batches = random_batches(size, folder, "train")
    device = bench_device(cuda=False, compiled=False)
    stepper, sample = ours(names()[0], size, device), size.sample(device.place)
    numbers = itertools.count()

    def read() -> None:
        for _ in range(BATCHES_A_TURN):
            batches.at(next(numbers))

    def step() -> None:
        stepper.step(*sample)

    read()
    step()
    seconds = np.array([(seconds_of(read) / BATCHES_A_TURN, seconds_of(step)) for _ in range(turns)])
    return Spread.of(seconds[:, 1]), Spread.of(seconds[:, 0]), ratios(seconds)[1]


def resident(tokens: int) -> Resident:
    """Read from a corpus of that size in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reading", "--resident", str(tokens)],
        check=True,
        stdout=subprocess.PIPE,
    )
    return Resident(tokens, *json.loads(done.stdout))


def read_here(tokens: int) -> tuple[float, float]:
    """Read batches from a corpus of zeros, most of it a hole in the file; the growth in MiB, own and mapped."""
    size = SIZES[SIZE]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.bin"
        with path.open("wb") as file:
            file.write(header(FORMATS[0], tokens))
            file.truncate(HEADER_BYTES + FORMATS[0].token_bytes * tokens)
        before = status()
        batches = Batches(TokenStream([path]), context=size.context, batch_size=size.batch, seed=0)
        for step in range(RESIDENT_BATCHES):
            batches.at(step)
        after = status()
    return after[0] - before[0], after[1] - before[1]


def status() -> tuple[float, float]:
    """Resident memory of this process in MiB: its own, and mapped files."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    own, mapped = (re.search(rf"{field}:\s+(\d+) kB", text) for field in ("RssAnon", "RssFile"))
    assert own and mapped, text
    return int(own[1]) * 1024 / MEBI, int(mapped[1]) * 1024 / MEBI


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("out/bench/reading.json"))
    parser.add_argument("--resident", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resident:
        print(json.dumps(read_here(options.resident)))
        return
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        step, batch, times = beside_steps(SIZES[SIZE], Path(folder), options.turns)
    print(
        f"a step of {SIZE}: {step} s; a batch: {batch.median * 1e6:.0f} us; reading is {times} times faster"
    )
    rows: list[Resident] = []
    if Path("/proc/self/status").exists():
        rows = [resident(tokens) for tokens in RESIDENT_TOKENS]
        cells = [(f"{row.corpus_tokens:,}", f"{row.own:.1f}", f"{row.mapped:.1f}") for row in rows]
        print(table(("tokens of the corpus", "own memory, MiB", "pages of shards, MiB"), cells))
    else:
        print("memory: left out, this system has no /proc")
    write(options.out, rows, times_faster=vars(times), step_seconds=vars(step), batch_seconds=vars(batch))


if __name__ == "__main__":
    main()
