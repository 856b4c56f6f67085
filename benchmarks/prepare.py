"""Text to shards: `data prepare` with one worker and with several, beside the usual script, turn by turn.

    python -m benchmarks.prepare [--text FILE] [--workers 2] [--turns 5] [--out FILE]

FILE is any file or folder that `text:` takes (or $NGPTLAB_BENCH_TEXT); without one, the standard library's source, which
is so short that the start of the processes counts. The usual script reads the same documents, has one process pool,
one call of `tiktoken.encode_ordinary` a document, and writes one array: no digests, no splits, no going on after a
stop. Every contestant is a fresh process; its seconds include its start.

The ratio of one worker to several is of wall-clock time, so other work on the machine makes it smaller. The CPU time
stands beside it: several workers can be no faster than one by more than `workers * cpu_one / cpu_several`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.machine import Spread, ratios, table, write
from ngptlab.config import DataConfig
from ngptlab.data.make import make
from ngptlab.data.sources import documents
from ngptlab.data.tokenize import tokenizer
from ngptlab.errors import LabError

MOST_TOKENS = 100_000_000  # of the usual script's one array
CHUNK = 16  # documents that the usual script's pool hands over at once


@dataclass(frozen=True)
class Row:
    """One contestant. Ratios are of the first one's time to this one's, turn by turn: above 1 is faster."""

    contestant: str
    seconds: Spread
    cpu_seconds: Spread
    speedup: Spread
    tokens_per_second: float


def ours(source: str, folder: Path, workers: int) -> int:
    """Prepare; gives the number of tokens."""
    data = DataConfig(source=source, tokenizer="gpt2")
    manifest = make(data, folder, long_min_tokens=8192, workers=workers)
    return sum(split.tokens for split in manifest.splits.values())


def usual(source: str, folder: Path, workers: int) -> int:
    """The script that everybody writes; gives the number of tokens."""
    array = np.empty(MOST_TOKENS, dtype=np.uint16)
    count = 0
    texts = (document.text for document in documents(source))
    with multiprocessing.Pool(workers) as pool:
        for tokens in pool.imap(_tokens, texts, chunksize=CHUNK):
            array[count : count + len(tokens)] = tokens
            count += len(tokens)
    array[:count].tofile(folder / "all.bin")
    return count


def _tokens(text: str) -> npt.NDArray[np.uint16]:
    import tiktoken

    encoding = tiktoken.get_encoding("gpt2")  # kept by the library after the first call
    return np.array([encoding.eot_token, *encoding.encode_ordinary(text)], dtype=np.uint16)


def take_turns(
    contestants: dict[str, tuple[str, int]], source: str, turns: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], dict[str, int]]:
    """Wall-clock and CPU seconds, [turns, contestants] each, and what each counted; another one begins each turn."""
    names = list(contestants)
    wall = np.zeros((turns, len(names)))
    cpu = np.zeros_like(wall)
    tokens: dict[str, int] = {}
    for turn in range(turns):
        for place in range(len(names)):
            column = (turn + place) % len(names)
            kind, workers = contestants[names[column]]
            with tempfile.TemporaryDirectory() as folder:
                command = ["--run", kind, "--text", source, "--workers", str(workers), "--out", folder]
                before, start = _child_cpu(), time.perf_counter()
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.prepare", *command], check=True, stdout=subprocess.PIPE
                )
                wall[turn, column] = time.perf_counter() - start
                cpu[turn, column] = _child_cpu() - before
            tokens[names[column]] = int(json.loads(done.stdout))
        print(f"turn {turn + 1} of {turns}:", *(f"{seconds:.2f} s" for seconds in wall[turn]), flush=True)
    return wall, cpu, tokens


def _child_cpu() -> float:
    """CPU seconds of all finished children and theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", default=os.environ.get("NGPTLAB_BENCH_TEXT", ""), help="file or folder")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("out/bench/prepare.json"))
    parser.add_argument("--run", choices=("ours", "usual"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    source = f"text:{options.text}" if options.text else "stdlib"
    if options.run:
        print((ours if options.run == "ours" else usual)(source, options.out, options.workers))
        return
    try:
        tokenizer("gpt2")
    except LabError as error:
        print(f"tokenising: left out, {error}")
        return
    contestants = {
        "ours, 1 worker": ("ours", 1),
        f"ours, {options.workers} workers": ("ours", options.workers),
        f"usual script, {options.workers} workers": ("usual", options.workers),
    }
    wall, cpu, tokens = take_turns(contestants, options.text, options.turns)
    speedups = ratios(1 / wall)
    rows = [
        Row(name, Spread.of(wall[:, at]), Spread.of(cpu[:, at]), speedups[at], round(count / float(np.median(wall[:, at]))))
        for at, (name, count) in enumerate((name, tokens[name]) for name in contestants)
    ]  # fmt: skip
    beside = ratios(1 / wall, baseline=2)[1]
    cells = [(r.contestant, r.seconds, r.cpu_seconds, r.speedup, f"{r.tokens_per_second:,.0f}") for r in rows]
    print(table(("contestant", "seconds", "CPU seconds", "speed-up over 1 worker", "tokens/s"), cells))
    print(f"{list(contestants)[1]} over the usual script: {beside}")
    write(options.out, rows, tokens=tokens, over_usual_script=vars(beside), text="given" if options.text else "stdlib")


if __name__ == "__main__":
    main()
