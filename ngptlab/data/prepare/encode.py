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

from ngptlab.data.tokens.tokenizer import Tokenizer, Tokens
from ngptlab.errors import DataError

WAITING = 6  # batches in flight for each worker: enough to bridge the time that a save takes


class Batch(NamedTuple):
    """Some consecutive documents, and how far their source is read with them."""

    texts: list[bytes]
    """In UTF-8: what is hashed and counted."""
    digests: list[bytes]
    """SHA-256 of each."""
    position: tuple[int, int]
    """Number of a part, and how many of its documents are read, those left out included."""
    names: list[str]
    """Of each: where it came from."""
    faults: list[str]
    """What is wrong with documents between them that have no text."""


Pieces = list[Tokens | str]
"""The tokens of each document, its end-of-text first; what is wrong with it where the tokenizer can't take it."""


def encoded(batches: Iterator[Batch], tokens: Tokenizer, workers: int) -> Generator[tuple[Batch, Pieces]]:
    """Batches with the tokens of each document, in order. Holds a fixed number of them.

    Args:
        workers: 1: between reading one batch and the next; more: so many threads, beside the reading.
    """
    assert workers > 0, workers
    if workers == 1:
        for batch in batches:
            yield batch, _encode(batch, tokens)
        return
    own = threading.local()

    def begin() -> None:
        own.tokens = tokens.copy()

    def work(batch: Batch) -> Pieces:
        return _encode(batch, own.tokens)

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
    """The tokens of a document, its end-of-text first; what is wrong with it where the tokenizer can't take it."""
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
    except DataError:  # one of them is at fault
        return [encode_one(text, name, tokens) for text, name in zip(batch.texts, batch.names, strict=True)]
    pieces: Pieces = [*np.split(flat, np.flatnonzero(flat == tokens.end_of_text)[1:])]
    return pieces
