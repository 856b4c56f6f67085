"""Documents to tokens, by several processes where asked, in the order in which they came."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ngptlab.data.tokenize import Tokenizer, Tokens, tokenizer
from ngptlab.errors import DataError

WAITING = 6  # batches in flight for each worker: enough to bridge the time that a save takes

_tokenizer: Tokenizer  # of a worker process


class Batch(NamedTuple):
    """Some consecutive documents, and how far their source is read with them."""

    texts: list[bytes]
    """In UTF-8: what is hashed, counted and sent to another process."""
    digests: list[bytes]
    """SHA-256 of each."""
    position: tuple[int, int]
    """Number of a part, and how many of its documents are read, those left out included."""


class Spec(NamedTuple):
    """How another process finds the same tokenizer."""

    given: str
    """As `data.tokenizer`."""
    end_of_text: str = ""
    """As `data.end_of_text`."""


def encoded(
    batches: Iterator[Batch], tokens: Tokenizer, spec: Spec, workers: int
) -> Iterator[tuple[Batch, list[Tokens]]]:
    """Batches with the tokens of each document, its end-of-text first, in order. Holds a fixed number of them.

    Raises:
        DataError: a worker process died.
    """
    assert workers > 0, workers
    if workers == 1:
        for batch in batches:
            yield batch, _apart(*_encode(batch.texts, tokens))
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy other threads' locks
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(spec, tokens.name))
    waiting: deque[tuple[Batch, Future[tuple[Tokens, npt.NDArray[np.int64]]]]] = deque()
    try:
        for batch in batches:
            waiting.append((batch, pool.submit(_work, batch.texts)))
            if len(waiting) > WAITING * workers:
                batch, future = waiting.popleft()
                yield batch, _apart(*future.result())
        while waiting:
            batch, future = waiting.popleft()
            yield batch, _apart(*future.result())
    except BrokenProcessPool:
        raise DataError(
            "a worker process died, perhaps for lack of memory; give the same command with fewer --workers"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(spec: Spec, name: str) -> None:
    """Start of a worker process."""
    global _tokenizer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _tokenizer = tokenizer(*spec)
    assert _tokenizer.name == name, f"{spec.given}: changed while it was used"


def _end_with_parent() -> None:
    """A parent that is killed can't end its workers."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(texts: list[bytes]) -> tuple[Tokens, npt.NDArray[np.int64]]:
    return _encode(texts, _tokenizer)


def _encode(texts: list[bytes], tokens: Tokenizer) -> tuple[Tokens, npt.NDArray[np.int64]]:
    """One array for a batch, which crosses to another process as it is, and where its documents end."""
    before = np.array([tokens.end_of_text], dtype=np.uint16)
    pieces = [piece for text in texts for piece in (before, tokens.encode(text.decode()))]
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)[1::2]
    return np.concatenate(pieces), ends


def _apart(flat: Tokens, ends: npt.NDArray[np.int64]) -> list[Tokens]:
    return np.split(flat, ends[:-1])
