"""Documents to tokens, by several processes where asked, in the order in which they came."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from ngptlab.data.tokenize import Tokenizer, Tokens, tokenizer
from ngptlab.errors import DataError

Hashed = tuple[str, bytes]
BATCH_CHARS = 1 << 20  # a message to a worker: large against its cost, small against memory
WAITING = 3  # messages in flight for each worker

_tokenizer: Tokenizer  # of a worker process


def encoded(
    documents: Iterator[Hashed], tokens: Tokenizer, workers: int
) -> Iterator[tuple[str, bytes, Tokens]]:
    """(text, hash, tokens) of (text, hash), in order. Holds a fixed number of batches in memory.

    Raises:
        DataError: a worker process died.
    """
    assert workers > 0, workers
    if workers == 1:
        for text, digest in documents:
            yield text, digest, tokens.encode(text)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy other threads' locks
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(tokens.name,))
    waiting: deque[tuple[list[Hashed], Future[list[Tokens]]]] = deque()
    try:
        for batch in _batches(documents):
            waiting.append((batch, pool.submit(_encode, [text for text, _ in batch])))
            if len(waiting) > WAITING * workers:
                yield from _finished(*waiting.popleft())
        while waiting:
            yield from _finished(*waiting.popleft())
    except BrokenProcessPool:
        raise DataError(
            "a worker process died, perhaps for lack of memory; give the same command with fewer --workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(batch: list[Hashed], future: Future[list[Tokens]]) -> Iterator[tuple[str, bytes, Tokens]]:
    for (text, digest), ids in zip(batch, future.result(), strict=True):
        yield text, digest, ids


def _batches(documents: Iterator[Hashed]) -> Iterator[list[Hashed]]:
    batch: list[Hashed] = []
    chars = 0
    for document in itertools.chain(documents, [None]):
        if document is not None:
            batch.append(document)
            chars += len(document[0])
        if batch and (document is None or chars >= BATCH_CHARS):
            yield batch
            batch, chars = [], 0


def _begin(name: str) -> None:
    """Start of a worker process."""
    global _tokenizer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _tokenizer = tokenizer(name)


def _end_with_parent() -> None:
    """A parent that is killed can't end its workers."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _encode(texts: list[str]) -> list[Tokens]:
    return [_tokenizer.encode(text) for text in texts]
