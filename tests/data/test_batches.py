"""Batches: pure in (seed, step), every window once before any twice, parts that make the whole."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngptlab.config import TrainConfig
from ngptlab.data import batches as batches_module
from ngptlab.data.batches import Batches, OwnRows, documents_of_windows, fixed_windows, permute
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.errors import DataError

SEEDS = st.integers(0, 2**70)


class Counting(TokenStream):
    """A stream whose token at position i is i, so that a window says where it is from."""

    def __init__(self, length: int) -> None:
        super().__init__([])
        self._length = length

    def __len__(self) -> int:
        return self._length

    def window(self, start: int, length: int) -> npt.NDArray[np.int64]:
        assert 0 <= start <= start + length <= self._length
        return np.arange(start, start + length)


def orders(size: int, seed: int, epochs: range) -> npt.NDArray[np.uint64]:
    """The windows of each epoch, in their order. Shape [epochs, size]."""
    positions = np.tile(np.arange(size, dtype=np.uint64), len(epochs))
    which = np.repeat(np.array(epochs, dtype=np.uint64), size)
    return permute(positions, which, size=size, seed=seed).reshape(len(epochs), size)


def order(size: int, seed: int, epoch: int = 0) -> list[int]:
    """The windows of one epoch, in their order."""
    return [int(window) for window in orders(size, seed, range(epoch, epoch + 1))[0]]


@given(size=st.integers(1, 600), seed=SEEDS, epoch=st.integers(0, 2**40))
def test_an_order_has_every_window_once(size: int, seed: int, epoch: int) -> None:
    assert sorted(order(size, seed, epoch)) == list(range(size))


@given(size=st.integers(20, 300), seed=SEEDS, epoch=st.integers(0, 1000))
def test_epochs_and_seeds_differ(size: int, seed: int, epoch: int) -> None:
    here = order(size, seed, epoch)  # that two of 20! orders agree by chance is out of the question
    assert here != list(range(size))
    assert here != order(size, seed, epoch + 1)
    assert here != order(size, seed + 1, epoch)


def test_orders_do_not_change_between_versions() -> None:
    """Goldens: to change one is right only where runs of before and after need not meet the same batches."""
    assert order(10, seed=0) == [2, 0, 5, 1, 4, 6, 7, 8, 3, 9]
    assert order(10, seed=0, epoch=1) == [4, 1, 9, 0, 3, 2, 6, 8, 7, 5]
    assert order(5, seed=12345) == [1, 3, 4, 2, 0]


def test_orders_look_random() -> None:
    # The first of 7 windows over many epochs: 6 degrees of freedom, 22.5 is p = 0.001.
    counts = np.bincount(orders(7, 0, range(2100))[:, 0].astype(np.int64), minlength=7)
    assert float(((counts - 300) ** 2 / 300).sum()) < 22.5
    # All 120 orders of 5 windows are equally likely: 119 degrees of freedom, 173.6 is p = 0.001.
    found = Counter(tuple(row) for row in orders(5, 0, range(4800)).tolist())
    assert len(found) == 120
    assert sum((count - 40) ** 2 / 40 for count in found.values()) < 173.6
    # Neighbours in the order are far apart in the text: a third of the size on average, standard error 0.4%.
    windows = np.array(order(4096, seed=3))
    assert abs(np.abs(np.diff(windows)).mean() / 4096 - 1 / 3) < 0.015
    assert abs(np.corrcoef(windows, np.arange(4096))[0, 1]) < 0.06  # four standard errors of 1/64


def test_seeds_are_as_unlike_as_epochs() -> None:
    first = np.bincount([order(7, seed)[0] for seed in range(350)], minlength=7)
    assert float(((first - 50) ** 2 / 50).sum()) < 22.5  # as above


def test_a_large_set_costs_no_memory() -> None:
    positions = np.array([0, 1, 10**12 - 1], dtype=np.uint64)
    windows = permute(positions, np.zeros(3, dtype=np.uint64), size=10**12, seed=1)
    assert len(set(windows.tolist())) == 3 and windows.max() < 10**12


@given(
    length=st.integers(2, 200),
    context=st.integers(1, 20),
    batch_size=st.integers(1, 17),
    seed=SEEDS,
    data=st.data(),
)
def test_batches(length: int, context: int, batch_size: int, seed: int, data: st.DataObject) -> None:
    context = min(context, length - 1)
    batches = Batches(Counting(length), context=context, batch_size=batch_size, seed=seed)
    assert batches.num_windows == (length - 1) // context
    step = data.draw(st.integers(0, 1000))
    inputs, targets = batches.at(step)
    assert inputs.shape == targets.shape == (batch_size, context)
    assert inputs.dtype == targets.dtype == np.int64
    # targets are the next tokens, windows are consecutive pieces of the stream
    assert (targets == inputs + 1).all()
    assert (inputs[:, 0] % context == 0).all()
    assert (inputs == inputs[:, :1] + np.arange(context)).all()
    # pure in step: another object, other steps in between
    again = Batches(Counting(length), context=context, batch_size=batch_size, seed=seed)
    again.at(step + 1)
    assert (again.at(step)[0] == inputs).all()
    # any split of the rows makes the whole
    cuts = sorted(data.draw(st.lists(st.integers(0, batch_size), max_size=4)))
    parts = [batches.at(step, slice(a, b)) for a, b in zip([0, *cuts], [*cuts, batch_size], strict=True)]
    assert (np.concatenate([part[0] for part in parts]) == inputs).all()
    assert (np.concatenate([part[1] for part in parts]) == targets).all()
    assert (batches.at(step, slice(1, None, 2))[0] == inputs[1::2]).all()


def test_rows_of_processes_make_batches_that_grow() -> None:
    """Each process has its part of every batch, whatever its size: 4, 8 and 12 sequences of one context each."""
    train = TrainConfig(steps=6, batch_size=8, batch_stages=(0.5, 1.0, 1.5), context=3)
    whole = Batches(Counting(1000), context=3, batch_size=8, seed=0, before=train.sequences_before)
    for step, size in enumerate((4, 4, 8, 8, 12, 12)):
        parts = [OwnRows(whole, partial(rows, rank)).at(step) for rank in range(2)]
        assert [len(inputs) for inputs, _ in parts] == [size // 2] * 2
        for found, expected in zip(zip(*parts, strict=True), whole.at(step), strict=True):
            assert (np.concatenate(found) == expected).all()


def rows(rank: int, size: int) -> slice:
    return slice(rank * size // 2, (rank + 1) * size // 2)


@given(num_windows=st.integers(1, 60), batch_size=st.integers(1, 100), seed=SEEDS)
def test_every_window_once_before_any_twice(num_windows: int, batch_size: int, seed: int) -> None:
    """Also where a batch straddles epochs, or holds several."""
    batches = Batches(Counting(num_windows * 3 + 1), context=3, batch_size=batch_size, seed=seed)
    steps = -(-3 * num_windows // batch_size)
    windows = np.concatenate([batches.at(step)[0][:, 0] // 3 for step in range(steps)])
    for epoch in range(3):
        part = windows[epoch * num_windows : (epoch + 1) * num_windows]
        assert sorted(part.tolist()) == list(range(num_windows))


@settings(max_examples=20)  # each is 150 calls
@given(seed=SEEDS, batch_size=st.integers(1, 50))
def test_every_epoch_has_its_own_order(seed: int, batch_size: int) -> None:
    batches = Batches(Counting(51), context=1, batch_size=batch_size, seed=seed)
    rows = [
        batches.at(n // batch_size, slice(n % batch_size, n % batch_size + 1))[0].item() for n in range(150)
    ]
    for epoch in range(3):
        assert rows[50 * epoch : 50 * epoch + 50] == order(50, seed, epoch)


@given(seed=SEEDS, batch_size=st.integers(1, 10))
def test_batch_size_changes_no_order(seed: int, batch_size: int) -> None:
    """The same samples in the same order, only grouped otherwise."""
    stream = Counting(400)
    one = Batches(stream, context=4, batch_size=1, seed=seed)
    many = Batches(stream, context=4, batch_size=batch_size, seed=seed)
    flat = np.concatenate([many.at(step)[0] for step in range(3)])
    assert (flat == np.concatenate([one.at(n)[0] for n in range(3 * batch_size)])).all()


def test_too_short_a_stream_names_both_numbers_and_the_setting() -> None:
    with pytest.raises(DataError, match=r"tokens are 128, one window takes 129 .*--train\.context"):
        Batches(Counting(128), context=128, batch_size=2, seed=0)
    assert Batches(Counting(129), context=128, batch_size=2, seed=0).num_windows == 1


@pytest.mark.parametrize(
    ("tokens", "count"), [(0, 1), (9, 1), (10, 1), (39, 3), (40, 4), (90, 9), (100, 9), (10**9, 9)]
)
def test_fixed_windows_are_the_first(tokens: int, count: int) -> None:
    inputs, targets = fixed_windows(
        Counting(100), context=10, tokens=tokens
    )  # 9 windows: the last needs a target
    assert inputs.shape == targets.shape == (count, 10)
    assert inputs.ravel().tolist() == list(range(10 * count))
    assert (targets == inputs + 1).all()


@given(num_windows=st.integers(1, 400), count=st.integers(1, 500))
def test_spread_windows_stand_at_even_distances(num_windows: int, count: int) -> None:
    """From the beginning to the end, none twice; all of the split where it has no more tokens than are asked for."""
    length = num_windows * 3 + 1
    inputs, targets = fixed_windows(Counting(length), context=3, tokens=count * 3, spread=True)
    assert (targets == inputs + 1).all() and (np.diff(inputs) == 1).all()
    windows, rest = np.divmod(inputs[:, 0], 3)
    assert len(windows) == min(count, num_windows) and not rest.any()
    distances = np.diff([*windows, num_windows])  # the last one to the end of the split
    assert windows[0] == 0 and distances.min() >= 1
    assert distances.max() - distances.min() <= 1, "as even as whole windows can be"
    if count >= num_windows:
        assert np.array_equal(inputs, fixed_windows(Counting(length), context=3, tokens=length)[0])


END = 9


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(0, 8), min_size=1, max_size=20),
    headless=st.booleans(),
    context=st.integers(1, 7),
    tokens=st.integers(1, 150),
    shard_tokens=st.integers(3, 40),
    part=st.integers(1, 9),
    spread=st.booleans(),
)
def test_documents_of_windows(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    headless: bool,
    context: int,
    tokens: int,
    shard_tokens: int,
    part: int,
    spread: bool,
) -> None:
    """As a plain loop over all tokens numbers them, over several files, and searched in parts of any size."""
    documents = [[END, *range(length)] for length in lengths]
    text = [token for document in documents for token in document][headless:]  # a shard may begin within one
    if len(text) <= context:
        return
    folder = tmp_path_factory.mktemp("shards")
    with ShardWriter(folder, "val", shard_tokens=shard_tokens) as writer:
        writer.write(np.array(text))
    stream = TokenStream(sorted(folder.glob("*.bin")))
    where = {"context": context, "tokens": tokens, "spread": spread}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches_module, "PART_TOKENS", part)
        found = documents_of_windows(stream, **where, end_of_text=END)
    _, targets = fixed_windows(stream, **where)
    count = len(targets)
    available = (len(text) - 1) // context
    rows = [row * available // count if spread else row for row in range(count)]
    assert [[text[row * context + 1 + n] for n in range(context)] for row in rows] == targets.tolist()
    number, of_position = 0, []
    for token in text:
        number += token == END
        of_position.append(number)
    expected = [[of_position[row * context + 1 + n] for n in range(context)] for row in rows]
    met = sorted({number for row in expected for number in row})
    assert found.tolist() == [[met.index(number) for number in row] for row in expected]


def test_fixed_windows_of_too_short_a_stream() -> None:
    with pytest.raises(
        DataError,
        match=r"validation tokens are 10, one window takes 11 .*give a longer book, .*train\.context",
    ):
        fixed_windows(Counting(10), context=10, tokens=100, remedy="a longer book")


@given(num_windows=st.integers(1, 60), batch_size=st.integers(1, 40), seed=SEEDS, step=st.integers(0, 2**40))
def test_sequential_order_is_that_of_the_files(
    num_windows: int, batch_size: int, seed: int, step: int
) -> None:
    """Window after window, from the start again after the last; the same in parts, whatever the seed."""
    batches = Batches(
        Counting(num_windows * 3 + 2), context=3, batch_size=batch_size, seed=seed, shuffled=False
    )
    inputs, targets = batches.at(step)
    expected = [(step * batch_size + row) % num_windows for row in range(batch_size)]
    assert (inputs[:, 0] // 3).tolist() == expected
    assert (targets == inputs + 1).all()
    assert (batches.at(step, slice(1, None, 2))[0] == inputs[1::2]).all()


def test_sequential_windows_go_on_across_files(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", shard_tokens=7) as writer:
        writer.write(np.arange(25))
    stream = TokenStream(sorted(tmp_path.glob("*.bin")))
    batches = Batches(stream, context=4, batch_size=3, seed=0, shuffled=False)
    flat = np.concatenate([batches.at(step)[0].ravel() for step in range(2)])
    assert flat.tolist() == list(range(24))
