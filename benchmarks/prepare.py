"""Text to shards: `data prepare` with one worker and with several (threads), beside the usual script, turn by turn.

    python -m benchmarks.prepare [--text FILE] [--workers 2] [--turns 5] [--out FILE]

FILE is a `.jsonl.zst` file (or $NGPTLAB_BENCH_TEXT). Without one the standard library's source is packed into such a file,
which is so short that the start of Python and of the tokenizer counts. `benchmarks/usual_script.py` is the usual script. Every
contestant is a fresh process; its seconds include its start.

The ratio of one worker to several is of wall-clock time, so other work on the machine makes it smaller. The CPU time
stands beside it: several workers can be no faster than one by more than `workers * cpu_one / cpu_several`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import zstandard

from benchmarks.machine import Floats, Spread, ratios, table, write
from ngptlab.data.shards.manifest import MANIFEST, read_manifest
from ngptlab.data.text.sources import documents
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.errors import LabError


@dataclass(frozen=True)
class Row:
    """One contestant. Ratios are of the first one's time to this one's, turn by turn: above 1 is faster."""

    contestant: str
    seconds: Spread
    cpu_seconds: Spread
    speedup: Spread
    tokens_per_second: int


def prepare(file: Path, folder: Path, workers: int) -> int:
    """Run the command; gives the number of tokens."""
    run("ngptlab", "data", "prepare", file, "--tokenizer", "gpt2", "--out", folder, "--workers", workers)
    manifest = read_manifest(folder / MANIFEST, "")
    return sum(split.tokens for split in manifest.splits.values())


def usual(file: Path, folder: Path, workers: int) -> int:
    """Run the usual script; gives the number of tokens."""
    return int(run("benchmarks.usual_script", file, folder / "all.bin", workers))


def run(module: str, *arguments: object) -> str:
    """A module in a process of its own; gives what it says."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(
        command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ).stdout


def take_turns(
    contestants: Mapping[str, tuple[Callable[[Path, Path, int], int], int]], file: Path, turns: int
) -> tuple[Floats, Floats, dict[str, int]]:
    """Wall-clock and CPU seconds, [turns, contestants] each, and what each counted; another one begins each turn."""
    names = list(contestants)
    wall = np.zeros((turns, len(names)))
    cpu = np.zeros_like(wall)
    tokens: dict[str, int] = {}
    for turn in range(turns):
        for place in range(len(names)):
            column = (turn + place) % len(names)
            work, workers = contestants[names[column]]
            with tempfile.TemporaryDirectory() as folder:
                before, start = _child_cpu(), time.perf_counter()
                tokens[names[column]] = work(file, Path(folder), workers)
                wall[turn, column] = time.perf_counter() - start
                cpu[turn, column] = _child_cpu() - before
        print(f"turn {turn + 1} of {turns}:", *(f"{seconds:.2f} s" for seconds in wall[turn]), flush=True)
    return wall, cpu, tokens


def packed(folder: Path) -> Path:
    """The standard library's source as a .jsonl.zst file."""
    lines = "".join(json.dumps({"text": document.text}) + "\n" for document in documents("stdlib"))
    file = folder / "stdlib.jsonl.zst"
    file.write_bytes(zstandard.compress(lines.encode()))
    return file


def _child_cpu() -> float:
    """CPU seconds of all finished children and theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, default=os.environ.get("NGPTLAB_BENCH_TEXT"), metavar="FILE")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("out/bench/prepare.json"))
    options = parser.parse_args()
    try:
        tokenizer("gpt2")
    except LabError as error:
        print(f"tokenising: left out, {error}")
        return
    several = f"prepare, {options.workers} workers"
    contestants = {
        "prepare, 1 worker": (prepare, 1),
        several: (prepare, options.workers),
        f"usual script, {options.workers} workers": (usual, options.workers),
    }
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu, tokens = take_turns(contestants, options.text or packed(Path(folder)), options.turns)
    rows = [
        Row(name, Spread.of(wall[:, at]), Spread.of(cpu[:, at]), speedup, round(tokens[name] / np.median(wall[:, at])))
        for at, (name, speedup) in enumerate(zip(contestants, ratios(1 / wall), strict=True))
    ]  # fmt: skip
    cells = [(r.contestant, r.seconds, r.cpu_seconds, r.speedup, f"{r.tokens_per_second:,}") for r in rows]
    print(table(("contestant", "seconds", "CPU seconds", "over 1 worker", "tokens/s"), cells))
    beside = ratios(1 / wall, baseline=2)[1]
    print(f"{several}, over the usual script: {beside}")
    write(options.out, rows, tokens=tokens, over_usual_script=asdict(beside))


if __name__ == "__main__":
    main()
