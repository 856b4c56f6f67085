"""What a run does beside its steps: reading batches, saving, tokenising, starting up.

    python -m benchmarks.io [--out FILE]

Each is small beside training where it is in order; the numbers are here so that it shows when one no longer is.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import Spread, table, write
from benchmarks.sizes import SIZES, Size
from benchmarks.steps import bench_device, ours
from ngptlab import recipes
from ngptlab.data.batches import Batches
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.data.text.sources import documents
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.errors import LabError
from ngptlab.methods import names
from ngptlab.train.checkpoint import list_checkpoints, save_checkpoint

SHARD_TOKENS = 20_000_000
TEXT_BYTES = 4_000_000
SAVES = 5
STARTS = 5


@dataclass(frozen=True)
class Row:
    """One number: what, of which size, the median with quartiles, in which unit."""

    what: str
    of: str
    value: Spread
    unit: str


def readings(work: Callable[[], object], times: int) -> list[float]:
    """Seconds of each of some calls, after one that counts for nothing."""
    work()
    return [seconds_of(work) for _ in range(times)]


def seconds_of(work: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def loading(name: str, size: Size, folder: Path) -> list[Row]:
    """Batches as training reads them, from shards of random tokens that the page cache holds."""
    batches = random_batches(size, folder, name)
    steps = itertools.count()
    seconds = np.array(readings(lambda: [batches.at(next(steps)) for _ in range(20)], 20)) / 20
    return [
        Row("batches", name, Spread.of(1 / seconds), "batches/s"),
        Row("batches", name, Spread.of(size.tokens / seconds / 1e6), "Mtokens/s"),
    ]


def random_batches(size: Size, folder: Path, name: str) -> Batches:
    """Batches from several shards of random tokens, written to the folder under that name."""
    tokens = np.random.default_rng(0).integers(0, min(size.dims.vocab_size, 2**16), SHARD_TOKENS)
    with ShardWriter(folder, name, shard_tokens=SHARD_TOKENS // 4) as writer:
        writer.write(tokens)
    stream = TokenStream([folder / shard.file for shard in writer.shards])
    return Batches(stream, context=size.context, batch_size=size.batch, seed=0)


def checkpoints(name: str, size: Size, folder: Path, every: int, method: str) -> list[Row]:
    """Saving weights and moments, and its share of a run that saves every so many steps."""
    device = bench_device(cuda=False, compiled=False)
    stepper = ours(method, size, device)
    sample = size.sample(device.place)
    steps = readings(lambda: stepper.step(*sample), 3)
    numbers = itertools.count(1)

    def save() -> None:
        save_checkpoint(
            folder / name, step=next(numbers), config_hash="0" * 8,
            model=stepper.model, optimizer=stepper.optimizer, keep=2,
        )  # fmt: skip

    saves = np.array(readings(save, SAVES))
    saved = sum(path.stat().st_size for path in list_checkpoints(folder / name)[-1].iterdir())
    share = 100 * saves / (saves + every * float(np.median(steps)))
    return [
        Row("checkpoint", name, Spread.of(saves), "s"),
        Row("checkpoint", name, Spread.of(saved / saves / 1e6), "MB/s"),
        Row("checkpoint", f"{name}, every {every} steps", Spread.of(share), "% of a run"),
    ]


def tokenising(name: str) -> list[Row]:
    """Text of the standard library to tokens."""
    text, encoder = some_text(TEXT_BYTES), tokenizer(name)
    millions = len(text.encode()) / 1e6
    return [
        Row(
            "tokenising",
            name,
            Spread.of(millions / np.array(readings(lambda: encoder.encode(text), 5))),
            "MB/s",
        )
    ]


def some_text(num_bytes: int) -> str:
    """The first documents of the running Python's own source."""
    texts, length = [], 0
    for document in documents("stdlib"):
        texts.append(document.text)
        length += len(document.text)
        if length >= num_bytes:
            break
    return "\n".join(texts)


def starting() -> list[Row]:
    """Processes that do next to nothing, from start to end; an empty interpreter is there to compare with."""
    commands = {
        "python -c pass": ["-c", "pass"],
        "import ngptlab": ["-c", "import ngptlab"],
        "ngptlab --help": ["-c", "import sys; from ngptlab.cli import main; sys.exit(main())", "--help"],
    }
    return [
        Row("start-up", label, Spread.of(readings(lambda at=arguments: _run(at), STARTS)), "s")  # type: ignore[misc]
        for label, arguments in commands.items()
    ]


def _run(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, timeout=120)


def measure(method: str, folder: Path) -> list[Row]:
    """Everything."""
    rows = loading("gpt2-7m", SIZES["gpt2-7m"], folder)
    for name in recipes.names():
        config = recipes.recipe(name).config
        size = Size(config.model, config.train.batch_size, config.train.context)
        rows += checkpoints(name, size, folder, config.checkpoint.every, method)
    rows += tokenising("bytes")
    if os.environ.get("TIKTOKEN_CACHE_DIR"):
        try:
            rows += tokenising("gpt2")
        except LabError as error:
            print(f"tokenising gpt2: left out, {error}")
    else:
        print("tokenising gpt2: left out, TIKTOKEN_CACHE_DIR is not set")
    return rows + starting()


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", default=names()[0], help="whose checkpoint is saved")
    parser.add_argument("--out", type=Path, default=Path("out/bench/io.json"))
    options = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options.method, Path(folder))
    cells = [
        (row.what, row.of, f"{row.value.median:.4g}", f"{row.value.low:.4g}..{row.value.high:.4g}", row.unit)
        for row in rows
    ]
    print(table(("what", "of", "median", "quartiles", "unit"), cells))
    write(options.out, rows)


if __name__ == "__main__":
    main()
