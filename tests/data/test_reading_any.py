"""Reading real shards: every token once an epoch for any ranks, micro-batches and stops, and no damage is read."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import shard

from ngptlab.cli import main
from ngptlab.config import DataConfig
from ngptlab.data.batches import Batches
from ngptlab.data.corpus import open_corpus
from ngptlab.data.shards.format import HEADER_BYTES
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.errors import DataError

EOT = 256


def numbered(folder: Path, count: int, shard_tokens: int) -> list[Path]:
    """Shards in which token i is i."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)  # a hundred files, and nothing loses power here
        with ShardWriter(folder, "train", shard_tokens=shard_tokens) as writer:
            writer.write(np.arange(count))
    return [folder / shard.file for shard in writer.shards]


@settings(max_examples=30)
@given(
    count=st.integers(2, 120),
    shard_tokens=st.integers(4, 60),
    context=st.integers(1, 12),
    rows=st.integers(1, 4),
    ranks=st.integers(1, 4),
    micro_batches=st.integers(1, 3),
    shuffled=st.booleans(),
    stop=st.integers(0, 100),
    seed=st.integers(0, 2**64),
)
def test_every_token_once_an_epoch_and_a_stop_leaves_no_trace(
    count: int,
    shard_tokens: int,
    context: int,
    rows: int,
    ranks: int,
    micro_batches: int,
    shuffled: bool,
    stop: int,
    seed: int,
) -> None:
    """Each rank opens the files itself and takes its micro-batches; after a stop there are others in their place."""
    context = min(context, count - 1)
    batch_size = rows * ranks * micro_batches
    with tempfile.TemporaryDirectory() as folder:
        paths = numbered(Path(folder), count, shard_tokens)

        def opened() -> Batches:
            stream = TokenStream(paths)
            return Batches(stream, context=context, batch_size=batch_size, seed=seed, shuffled=shuffled)

        def parts(batches: list[Batches], step: int) -> Iterator[tuple[npt.NDArray[np.int64], ...]]:
            for part in range(ranks * micro_batches):
                yield batches[part % ranks].at(step, slice(part * rows, (part + 1) * rows))

        windows = (count - 1) // context
        steps = -(-2 * windows // batch_size)
        machines = [opened() for _ in range(ranks)]
        met = []
        for step in range(steps):
            if step == stop:
                machines = [opened() for _ in range(ranks)]
            for inputs, targets in parts(machines, step):
                assert (targets == inputs + 1).all()
                met.append(inputs)
        flat = np.concatenate(met)
        whole = np.concatenate([opened().at(step)[0] for step in range(steps)])
    assert (flat == whole).all()
    for epoch in range(2):
        tokens = flat[epoch * windows : (epoch + 1) * windows]
        assert sorted(tokens.ravel().tolist()) == list(range(windows * context))


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def shards(tmp_path: Path, cache: Path) -> Path:
    """Two training shards and one for validation, of the size of a page, so that a flip may lie before the tail."""
    folder = tmp_path / "shards"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name, count in (("train_000001", 6000), ("train_000002", 6000), ("val_000000", 3000)):
        (folder / f"{name}.bin").write_bytes(shard([EOT, *draw.integers(0, EOT, count).tolist()]))
    return folder


def opened(folder: Path) -> None:
    data = DataConfig(source=f"shards:{folder}")
    open_corpus(data, vocab_size=257, long_min_tokens=10)


Damage = Callable[[Path], None]


def edit(change: Callable[[bytearray], object]) -> Damage:
    def damage(folder: Path) -> None:
        raw = bytearray((folder / "train_000001.bin").read_bytes())
        change(raw)
        (folder / "train_000001.bin").write_bytes(raw)

    return damage


def swap(folder: Path) -> None:
    one, two, other = folder / "train_000001.bin", folder / "train_000002.bin", folder / "other"
    one.rename(other)
    two.rename(one)
    other.rename(two)


def flip(position: int) -> Damage:
    return edit(lambda raw: raw.__setitem__(position % len(raw), raw[position % len(raw)] ^ 4))


def another_count(raw: bytearray) -> None:
    """Cut, with a header that says so."""
    del raw[-2:]
    raw[8:12] = (6000).to_bytes(4, "little")


DAMAGES = {
    "cut": (edit(lambda raw: raw.__delitem__(slice(-2, None))), "truncated"),
    "cut to nothing": (edit(bytearray.clear), "truncated, 0 bytes"),
    "cut, header and all": (edit(another_count), "is truncated"),
    "grown": (edit(lambda raw: raw.extend(b"\0\0")), "longer than its header says"),
    "flipped at the end": (flip(-1), "has changed in its last 4096 bytes"),
    "swapped": (swap, "has changed in its last 4096 bytes"),
    "of another version": (edit(lambda raw: raw.__setitem__(4, 2)), "shard of version 2"),
    "of another kind": (flip(0), "wrong magic number"),
    "gone": (lambda folder: (folder / "train_000001.bin").unlink(), "lists train_000001.bin, which is not there"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_no_run_begins_on_damage(
    shards: Path, tmp_path: Path, tiny: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the command line, where a manifest is known: one line, exit code 2, and no step."""
    opened(shards)
    damage, said = DAMAGES[name]
    damage(shards)
    out = tmp_path / "runs"
    command = ["train", "demo", *tiny, "--data.source", f"shards:{shards}", "--out", str(out)]
    assert main(command) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert said in message and "train_00000" in message
    assert not list(out.rglob("metrics.jsonl"))


def test_a_token_beyond_the_vocabulary_stops_a_run_before_it_begins(
    shards: Path, tmp_path: Path, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (shards / "val_000000.bin").write_bytes(shard([EOT, 1, 257, 2]))
    out = tmp_path / "runs"
    assert main(["train", "demo", *tiny, "--data.source", f"shards:{shards}", "--out", str(out)]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "val_000000.bin: holds token 257, data.tokenizer bytes has 257 tokens" in message
    assert not list(out.rglob("metrics.jsonl"))


@settings(max_examples=25)
@given(position=st.integers(0, HEADER_BYTES + 2 * 6001 - 1), bit=st.integers(0, 7), data=st.data())
def test_no_flipped_bit_is_read_where_digests_are_compared_first(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int, data: st.DataObject
) -> None:
    """Anywhere in any shard, on a machine that meets the manifest for the first time; the file is named."""
    base = tmp_path_factory.mktemp("flips")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NGPTLAB_CACHE", str(base / "cache"))
        folder = base / "shards"
        folder.mkdir()
        names = ("train_000001", "train_000002", "val_000000")
        for number, name in enumerate(names):
            (folder / f"{name}.bin").write_bytes(shard([EOT, *([number] * 6000)]))
        opened(folder)
        shutil.rmtree(base / "cache")
        path = folder / f"{data.draw(st.sampled_from(names))}.bin"
        raw = bytearray(path.read_bytes())
        raw[position] ^= 1 << bit
        path.write_bytes(raw)
        with pytest.raises(DataError) as caught:
            opened(folder)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
