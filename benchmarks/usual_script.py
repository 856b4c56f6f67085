"""The script that everybody writes: one process pool, one call of `tiktoken.encode_ordinary` a document, one array.

    python -m benchmarks.usual_script FILE OUT WORKERS

FILE is a `.jsonl.zst` file. No digests, no splits, no going on after a stop. It stands by itself, so that its processes
load nothing but what they need.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tiktoken
import zstandard

MOST_TOKENS = 100_000_000
CHUNK = 16  # documents that the pool hands over at once


def texts(file: Path) -> Iterator[str]:
    """One a line."""
    with file.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as plain:
        for line in io.TextIOWrapper(plain, encoding="utf-8"):
            yield json.loads(line)["text"]


def encode(text: str) -> npt.NDArray[np.uint16]:
    """Tokens of a document, its end-of-text first."""
    encoding = tiktoken.get_encoding("gpt2")  # kept by the library after the first call
    return np.array([encoding.eot_token, *encoding.encode_ordinary(text)], dtype=np.uint16)


def main(file: Path, out: Path, workers: int) -> None:
    """Tokenise, write, print the number of tokens."""
    array = np.empty(MOST_TOKENS, dtype=np.uint16)
    count = 0
    with multiprocessing.Pool(workers) as pool:
        for tokens in pool.imap(encode, texts(file), chunksize=CHUNK):
            array[count : count + len(tokens)] = tokens
            count += len(tokens)
    array[:count].tofile(out)
    print(count)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
