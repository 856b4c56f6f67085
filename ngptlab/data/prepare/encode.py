"""Documents to tokens, by several threads where asked, in the order in which they came.

Threads are enough, because the tokenizers' libraries release the interpreter's lock while they encode a batch. Processes
would each load the tokenizer, and texts and tokens would be copied to them and back.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ngptlab.data.tokens.tokenizer import Tokenizer, Tokens
from ngptlab.errors import DataError

WAITING = 6  # batches in flight for each worker: enough to bridge the time that a save takes


class Batch(NamedTuple):
    """Consecutive documents, and how far their source has been read with them."""

    texts: list[bytes]
    """Texts of the documents in UTF-8, which are hashed and counted."""
    digests: list[bytes]
    """SHA-256 of each text."""
    position: tuple[int, int]
    """Number of a part, and how many of its documents have been read, those left out included."""
    names: list[str]
    """Where each document came from."""
    faults: list[str]
    """Messages about the documents between these that can't be used."""


Pieces = list[Tokens | str]
"""For each document its tokens, end-of-text first, or a message where the tokenizer can't encode it."""


def encoded(batches: Iterator[Batch], tokens: Tokenizer, workers: int) -> Generator[tuple[Batch, Pieces]]:
    """Batches with the tokens of each document, in order. Holds a fixed number of batches.

    Args:
        workers: 1: each batch is encoded before the next is read. More: so many threads encode while batches are read.
    """
    assert workers > 0, workers
    if workers == 1:
        for batch in batches:
            yield batch, _encode(batch, tokens)
        return
    of_thread = threading.local()

    def begin() -> None:
        of_thread.tokens = tokens.copy()

    def work(batch: Batch) -> Pieces:
        return _encode(batch, of_thread.tokens)

    pool = ThreadPoolExecutor(workers, initializer=begin)
    waiting: deque[tuple[Batch, Future[Pieces]]] = deque()
    try:
        for batch in batches:
            waiting.append((batch, pool.submit(work, batch)))
            if len(waiting) > WAITING * workers:
                batch, future = waiting.popleft()
                yield batch, future.result()
        while waiting:
            batch, future = waiting.popleft()
            yield batch, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def encode_one(text: bytes, name: str, tokens: Tokenizer) -> Tokens | str:
    """The tokens of a document, its end-of-text first, or a message where the tokenizer can't encode it."""
    decoded = text.decode()
    try:
        return tokens.encode_documents([decoded])
    except DataError as error:
        return f"{name}: its {len(decoded):,} characters can't be encoded ({error})"


def _encode(batch: Batch, tokens: Tokenizer) -> Pieces:
    if not batch.texts:
        return []
    try:
        flat = tokens.encode_documents([text.decode() for text in batch.texts])
    except DataError:  # of at least one document, which encoding one by one finds
        return [encode_one(text, name, tokens) for text, name in zip(batch.texts, batch.names, strict=True)]
    pieces: Pieces = [*np.split(flat, np.flatnonzero(flat == tokens.end_of_text)[1:])]
    return pieces
