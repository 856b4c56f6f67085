"""A batch as a pure function of (seed, step): no state to save, the same for any number of machines.

Sample n = step * batch_size + row (n = before(step) + row where batches are of several sizes) is window P(n mod N) of N. In
sequential order P changes nothing: windows come as they stand in the files. In shuffled order it is a permutation keyed by
(seed, n // N): a Feistel network over an even number of bits that holds N, walked along its cycle until it lands below N. It
permutes exactly 0..N-1 and is evaluated at one point in constant memory. It is written out in 64-bit integers
because the order of numpy's own shuffles may change between versions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ngptlab.data.shards.stream import TokenStream
from ngptlab.errors import ConfigError, DataError

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

# Four rounds make a strong pseudo-random permutation of a large set (Luby and Rackoff 1988). Small sets need
# more, and wider halves: with 6 rounds and halves of 1 or 2 bits, some orders of 5 windows came too often.
ROUNDS = 8
MIN_HALF_BITS = 3
PART_TOKENS = 1 << 20
"""Tokens read at once where a stream is searched."""


class Batches:
    """Training batches over a stream, cut into consecutive windows of T + 1 tokens that share their edges.

    Every window is used once before any is used twice; if `shuffled`, in a new order each time.

    Args:
        remedy: how a user gives the stream's source more tokens, for the error's message.
        before: number of samples before a step, where batches have several sizes; `batch_size` is then not used.

    Raises:
        DataError: the stream is shorter than one window.
    """

    def __init__(
        self,
        stream: TokenStream,
        *,
        context: int,
        batch_size: int,
        seed: int,
        shuffled: bool = True,
        remedy: str = "more text",
        before: Callable[[int], int] | None = None,
    ) -> None:
        assert context > 0 and batch_size > 0, (context, batch_size)
        self._shuffled = shuffled
        self._stream, self._context, self._batch_size, self._seed = stream, context, batch_size, seed
        self._before = before
        self.num_windows = _num_windows(stream, context, "training", remedy)

    def at(self, step: int, rows: slice = slice(None)) -> tuple[I64, I64]:
        """Inputs and targets of a step, targets one token later. Shape [B, T] each.

        `rows` selects a part of the same batch: a micro-batch, or the rows of one machine.
        """
        assert step >= 0, step
        return _cut(self._stream, self.windows(step, rows).tolist(), self._context)

    def windows(self, step: int, rows: slice = slice(None)) -> U64:
        """Numbers of the windows that a step reads, [B]; window w begins with token w * T of the stream."""
        samples = self._samples(step, rows)
        epochs, positions = np.divmod(samples, np.uint64(self.num_windows))
        if self._shuffled:
            positions = permute(positions, epochs, size=self.num_windows, seed=self._seed)
        return positions

    def whole(self, step: int) -> tuple[I64, I64]:
        """All rows of a step, whatever this process reads of them; [B, T] each."""
        return self.at(step)

    def _samples(self, step: int, rows: slice) -> U64:
        if self._before is None:
            return step * self._batch_size + np.arange(self._batch_size, dtype=np.uint64)[rows]
        return np.arange(self._before(step), self._before(step + 1), dtype=np.uint64)[rows]

    def size(self, step: int) -> int:
        """Sequences of a step."""
        return self._batch_size if self._before is None else self._before(step + 1) - self._before(step)


class OwnRows:
    """Some rows of the same batches: what one process of several reads."""

    def __init__(self, whole: Batches, rows: Callable[[int], slice]) -> None:
        self.num_windows = whole.num_windows
        self._whole, self._rows = whole, rows

    def at(self, step: int) -> tuple[I64, I64]:
        """Inputs and targets of this process's rows, as `rows` cuts a batch of so many; [rows, T] each."""
        return self._whole.at(step, self._rows(self._whole.size(step)))

    def windows(self, step: int) -> U64:
        """As `Batches`, of all rows."""
        return self._whole.windows(step)

    def whole(self, step: int) -> tuple[I64, I64]:
        """As `Batches`."""
        return self._whole.at(step)


class CutBatches:
    """The same batches with each sequence cut into pieces of `length(step)` tokens, which must divide the context."""

    def __init__(self, whole: Batches | OwnRows, length: Callable[[int], int]) -> None:
        self.num_windows = whole.num_windows
        self._whole, self._length = whole, length

    def at(self, step: int) -> tuple[I64, I64]:
        """Inputs and targets of a step, [B * pieces, T / pieces] each: all tokens of the whole batch.

        Raises:
            ConfigError: the length that the method gives does not divide the context.
        """
        return self._cut(step, *self._whole.at(step))

    def windows(self, step: int) -> U64:
        """As `Batches`; each is cut into pieces."""
        return self._whole.windows(step)

    def whole(self, step: int) -> tuple[I64, I64]:
        """As `Batches`, in pieces."""
        return self._cut(step, *self._whole.whole(step))

    def _cut(self, step: int, inputs_BT: I64, targets_BT: I64) -> tuple[I64, I64]:
        length, context = self._length(step), inputs_BT.shape[1]
        if not isinstance(length, int) or length < 1 or context % length:
            raise ConfigError(
                f"the method's context gives {length!r} tokens at step {step}; its part must give a divisor of train.context "
                f"{context}, as a whole number"
            )
        return inputs_BT.reshape(-1, length), targets_BT.reshape(-1, length)


def fixed_windows(
    stream: TokenStream, *, context: int, tokens: int, spread: bool = False, remedy: str = "more text"
) -> tuple[I64, I64]:
    """`tokens // context` windows, at least one, at most all. Inputs and targets, [N, T] each.

    Args:
        spread: windows at even distances over the whole stream; else its first ones.
        remedy: as for `Batches`.

    Raises:
        DataError: the stream is shorter than one window.
    """
    chosen = _chosen(stream, context, tokens, spread, remedy)
    return _cut(stream, chosen, context)


def documents_of_windows(
    stream: TokenStream, *, context: int, tokens: int, spread: bool, end_of_text: int
) -> I64:
    """Number of the document that each target of `fixed_windows` belongs to, [N, T]. Those in the windows count from 0.

    An end-of-text token stands before its document and counts as its first token.
    """
    documents_NT, counted, seen = [], 0, 0
    for window in _chosen(stream, context, tokens, spread, "more text"):
        first = window * context + 1
        seen += _ends_of_text(stream, counted, first, end_of_text)
        ends_T = stream.window(first, context) == end_of_text
        documents_NT.append(seen + np.cumsum(ends_T))
        counted, seen = first + context, seen + int(ends_T.sum())
    return np.unique(np.stack(documents_NT), return_inverse=True)[1].reshape(len(documents_NT), context)


def _chosen(stream: TokenStream, context: int, tokens: int, spread: bool, remedy: str) -> list[int]:
    available = _num_windows(stream, context, "validation", remedy)
    count = min(max(1, tokens // context), available)
    return [row * available // count for row in range(count)] if spread else list(range(count))


def _ends_of_text(stream: TokenStream, start: int, stop: int, end_of_text: int) -> int:
    """Number of end-of-text tokens from `start` to before `stop`."""
    parts = range(start, stop, PART_TOKENS)
    return sum(
        int((stream.window(part, min(PART_TOKENS, stop - part)) == end_of_text).sum()) for part in parts
    )


def permute(positions: U64, epochs: U64, *, size: int, seed: int) -> U64:
    """Where each position of 0..size-1 goes, in the order of its epoch. Shapes [B], [B] -> [B]."""
    keys = _mix(_mix(np.array([seed % 2**64], dtype=np.uint64)) + epochs)
    half_bits = max(MIN_HALF_BITS, ((size - 1).bit_length() + 1) // 2)
    values = _feistel(positions, keys, half_bits)
    # The network permutes more values than these. A value not below size goes through it again: its cycle comes back.
    while (outside := values >= size).any():
        values[outside] = _feistel(values[outside], keys[outside], half_bits)
    return values


def _feistel(values: U64, keys: U64, half_bits: int) -> U64:
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    for number in range(ROUNDS):
        left, right = right, left ^ (_mix(right ^ _mix(keys + np.uint64(number))) & mask)
    return (left << shift) | right


def _mix(x: U64) -> U64:
    """One output of splitmix64 (Steele, Lea and Flood 2014) for each state. Wraps modulo 2**64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _num_windows(stream: TokenStream, context: int, purpose: str, remedy: str) -> int:
    if len(stream) < context + 1:
        raise DataError(
            f"the {purpose} tokens are {len(stream)}, one window takes {context + 1} (train.context + 1); "
            f"give {remedy}, or shorten --train.context"
        )
    return (len(stream) - 1) // context


def _cut(stream: TokenStream, windows: list[int], context: int) -> tuple[I64, I64]:
    inputs_BT = np.empty((len(windows), context), dtype=np.int64)
    targets_BT = np.empty_like(inputs_BT)
    for row, window in enumerate(windows):
        tokens = stream.window(window * context, context + 1)
        inputs_BT[row], targets_BT[row] = tokens[:-1], tokens[1:]
    return inputs_BT, targets_BT
