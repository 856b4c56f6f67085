"""Time of a token with the cache of keys and values, and of the same token from reading everything again.

    python -m benchmarks.sampling [--methods A B] [--sizes demo gpt2-512] [--length 512] [--turns 20]

Both go on from the same prompt of `--length` random tokens and take turns token by token, so both are at one length, and
what else the machine does hits them alike. Reading the prompt, which both must, is not in it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import Floats, Spread, ratios, table, write
from benchmarks.sizes import SIZES, Size, add_sizes, check
from benchmarks.steps import bench_device
from ngptlab.device import Device
from ngptlab.errors import LabError
from ngptlab.methods import build_model, names
from ngptlab.sampling.generate import generate

WARM_UP_TOKENS = 3
"""The first reads the prompt; the next ones allocate."""


@dataclass(frozen=True)
class Row:
    """One method at one size."""

    size: str
    method: str
    length: int
    cached_seconds: Spread
    """Of a token."""
    again_seconds: Spread
    """Of the same token, all before it read again."""
    speedup: Spread
    """The second over the first, turn by turn."""
    turns: int


def measure(name: str, size: Size, method: str, length: int, turns: int, device: Device) -> Row:
    """One method at one size."""
    model = build_model(method, size.dims, seed=0).to(device.place).requires_grad_(False)
    model.compute_dtype = device.compute_dtype
    prompt = torch.randint(
        size.dims.vocab_size, (length,), generator=torch.Generator().manual_seed(0)
    ).tolist()
    count = WARM_UP_TOKENS + turns
    cached, again = (generate(model, prompt, max_tokens=count, cached=kept) for kept in (True, False))
    seconds = _interleave([cached, again], count, device)[WARM_UP_TOKENS:]
    return Row(
        name,
        method,
        length,
        Spread.of(seconds[:, 0]),
        Spread.of(seconds[:, 1]),
        ratios(seconds)[1],
        turns,
    )


def _interleave(contestants: list[Iterator[Any]], count: int, device: Device) -> Floats:
    """Seconds of every token, [tokens, contestants]; the one that begins changes from turn to turn."""
    seconds = np.zeros((count, len(contestants)))
    for turn in range(count):
        for place in range(len(contestants)):
            which = (turn + place) % len(contestants)
            start = time.perf_counter()
            next(contestants[which])
            device.synchronize()
            seconds[turn, which] = time.perf_counter() - start
    return seconds


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=names())
    add_sizes(parser, ["demo", "gpt2-512"])
    parser.add_argument("--length", type=int, default=512, help="tokens before the one that is timed")
    parser.add_argument("--turns", type=int, default=20, help="tokens measured")
    parser.add_argument("--out", type=Path, default=Path("out/bench/sampling.json"))
    options = parser.parse_args()
    try:
        check(options.sizes)
        device = bench_device(cuda=SIZES[options.sizes[0]].cuda, compiled=False)
        rows = [
            measure(name, SIZES[name], method, options.length, options.turns, device)
            for name in options.sizes
            for method in options.methods
        ]
    except LabError as error:
        sys.exit(f"sampling: {error}")
    cells = [
        (row.size, row.method, *(f"{1e3 * s.median:.2f}" for s in (row.cached_seconds, row.again_seconds)), row.speedup)
        for row in rows
    ]  # fmt: skip
    print(table(("size", "method", "cached ms", "again ms", "speed-up"), cells))
    write(options.out, rows)


if __name__ == "__main__":
    main()
