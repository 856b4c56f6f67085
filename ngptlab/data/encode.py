"""Documents to tokens, by several threads where asked, in the order in which they came.

Threads, for the tokenizers' libraries let go of the interpreter while they are at a batch. Processes would each load the
tokenizer, and texts and tokens would be copied to them and back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ngptlab.data.tokenize import Tokenizer, Tokens

WAITING = 6  # batches in flight for each worker: enough to bridge the time that a save takes


class Batch(NamedTuple):
    """Some consecutive documents, and how far their source is read with them."""

    texts: list[bytes]
    """In UTF-8: what is hashed and counted."""
    digests: list[bytes]
    """SHA-256 of each."""
    position: tuple[int, int]
    """Number of a part, and how many of its documents are read, those left out included."""


def encoded(
    batches: Iterator[Batch], tokens: Tokenizer, workers: int
) -> Generator[tuple[Batch, list[Tokens]]]:
    """Batches with the tokens of each document, its end-of-text first, in order. Holds a fixed number of them.

    Args:
        workers: 1: between reading one batch and the next; more: so many threads, beside the reading.
    """
    assert workers > 0, workers
    if workers == 1:
        for batch in batches:
            yield batch, _encode(batch.texts, tokens)
        return
    own = threading.local()

    def begin() -> None:
        own.tokens = tokens.copy()

    def work(texts: list[bytes]) -> list[Tokens]:
        return _encode(texts, own.tokens)

    pool = ThreadPoolExecutor(workers, initializer=begin)
    waiting: deque[tuple[Batch, Future[list[Tokens]]]] = deque()
    try:
        for batch in batches:
            waiting.append((batch, pool.submit(work, batch.texts)))
            if len(waiting) > WAITING * workers:
                batch, future = waiting.popleft()
                yield batch, future.result()
        while waiting:
            batch, future = waiting.popleft()
            yield batch, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _encode(texts: list[bytes], tokens: Tokenizer) -> list[Tokens]:
    flat = tokens.encode_documents([text.decode() for text in texts])
    return np.split(flat, np.flatnonzero(flat == tokens.end_of_text)[1:])
