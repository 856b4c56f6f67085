"""`data prepare` over many machines: two steps for the executors of `datatrove`, local, Slurm or Ray.

    encode, merge = steps(data, out, scratch)
    first = SlurmPipelineExecutor([encode], tasks=200, ...)
    SlurmPipelineExecutor([merge], tasks=1, depends=first, ...).run()

Each rank of the first step encodes a block of the source's parts (files) into a scratch folder that all machines see. The
second step has one rank. It reads the blocks in order, drops duplicates, and writes the splits. The shards and the manifest
are those of `data prepare`, byte for byte, for any number of ranks. datatrove itself isn't imported here, because its
pipelines take any callable.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ngptlab import disk
from ngptlab.config import DataConfig, Frozen
from ngptlab.data.prepare.bad_documents import BadDocuments
from ngptlab.data.prepare.encode import encode_one
from ngptlab.data.prepare.split_rule import Extremes, SplitRule, check_two_documents
from ngptlab.data.prepare.split_writers import SplitWriters
from ngptlab.data.prepare.text_to_shards import finish_folder, hashed_documents
from ngptlab.data.shards.format import file_sha256, shard_format
from ngptlab.data.shards.manifest import MANIFEST, Split, read_manifest
from ngptlab.data.shards.record import read_record, write_record
from ngptlab.data.text import sources
from ngptlab.data.text.formats import TEXT_COLUMN
from ngptlab.data.text.sources import Source
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.data.tokens.tokenizer import Tokenizer, token_dtype
from ngptlab.disk import create, naming, replacing
from ngptlab.errors import DataError
from ngptlab.folders import filling

INDEX = np.dtype([("digest", "u1", (32,)), ("tokens", "<i8"), ("text_bytes", "<i8")])
NPY = b"\x93NUMPY\x01\x00"
FLUSH_DOCUMENTS = 1000
BLOCK = re.compile(r"block_\d{5,}_of_\d{5,}\.json", re.ASCII)


class Block(Frozen):
    """The record of a rank's block, written when the block's other files are complete."""

    job: str
    """Identifies the source and the tokenizer."""
    tokens_sha256: str
    """SHA-256 of the file of tokens."""
    index_sha256: str
    """SHA-256 of the index, a file with a row for each document."""
    left_out: int = 0
    """Documents without usable text. Not counted: those that the tokenizer can't encode, which have rows of no tokens."""


@dataclass(frozen=True)
class Job:
    """The settings that both steps must agree on."""

    data: DataConfig
    out: Path
    scratch: Path
    long_min_tokens: int
    column: str
    split: str
    revision: str
    skip_bad: bool

    def open(self) -> tuple[Source, Tokenizer, str]:
        """The source, the tokenizer, and the text that identifies both in the records of blocks."""
        source = sources.find(self.data.source, column=self.column, split=self.split, revision=self.revision)
        tokens = tokenizer(self.data.tokenizer, self.data.end_of_text)
        return source, tokens, f"{source.fingerprint()} {tokens.name} {tokens.end_of_text}"

    def path(self, rank: int, num_ranks: int, suffix: str) -> Path:
        """Path of a file of a block."""
        return self.scratch / f"block_{rank:05d}_of_{num_ranks:05d}{suffix}"


def steps(
    data: DataConfig,
    out: Path,
    scratch: Path,
    *,
    long_min_tokens: int = 8192,
    column: str = TEXT_COLUMN,
    split: str = "",
    revision: str = "",
    bad_documents: Literal["stop", "skip"] = "stop",
) -> tuple[Encode, Merge]:
    """The two steps. `out` is a folder that doesn't exist yet; `scratch` stays until the user deletes it.

    Args:
        column, split, revision: as for `sources.find`.
        bad_documents: as `--bad-documents` of `data prepare`.
    """
    skip = bad_documents == "skip"
    job = Job(data, Path(out), Path(scratch), long_min_tokens, column, split, revision, skip)
    return Encode(job), Merge(job)


@dataclass(frozen=True)
class Encode:
    """First step, for at most as many ranks as the source has parts."""

    job: Job

    def __call__(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Encode the rank's block. A rank that was killed begins again; one whose block is done and undamaged does nothing.

        Raises:
            DataError: the source can't be read.
            OSError: the scratch folder can't be written.
        """
        source, tokens, job = self.job.open()
        record = self.job.path(rank, world_size, ".json")
        block = _block(record)
        if block and block.job == job and not _damage(record, block):
            return
        record.unlink(missing_ok=True)
        self.job.scratch.mkdir(parents=True, exist_ok=True)
        rows: list[tuple[Any, int, int]] = []
        digest_of_tokens = hashlib.sha256()
        unread, refused = BadDocuments(skip=self.job.skip_bad), BadDocuments(skip=self.job.skip_bad)
        path = self.job.path(rank, world_size, ".tokens")
        with naming(path), create(path) as file:
            # A block is of consecutive parts, so that the order of the ranks is the order of the source.
            for part in range(
                source.num_parts * rank // world_size, source.num_parts * (rank + 1) // world_size
            ):
                for read in hashed_documents(source, part):
                    if read.fault:
                        unread.add(read.fault)
                        continue
                    ids = encode_one(read.text, read.name, tokens)
                    if isinstance(ids, str):
                        refused.add(ids)
                        # It has a row all the same, so that its copies in other blocks count once.
                        ids = np.zeros(0, dtype=token_dtype(tokens.vocab_size))
                    file.write(ids.data)
                    rows.append((np.frombuffer(read.digest, dtype=np.uint8), len(ids), len(read.text)))
                    digest_of_tokens.update(ids.data)
        index = self.job.path(rank, world_size, ".npy")
        with replacing(index) as file:
            np.save(file, np.array(rows, dtype=INDEX), allow_pickle=False)
        block = Block(
            job=job,
            tokens_sha256=digest_of_tokens.hexdigest(),
            index_sha256=file_sha256(index),
            left_out=unread.count,
        )
        write_record(record, block)


@dataclass(frozen=True)
class Merge:
    """Second step, for one rank, once all ranks of the first are done."""

    job: Job

    def __call__(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the shards and the manifest; the folder is there as a whole or not at all.

        Raises:
            DataError: a rank of the first step isn't done or its block is damaged, or the folder holds something else.
            OSError: the folder can't be written.
        """
        if rank:
            return
        source, tokens, job = self.job.open()
        out = self.job.out
        if out.exists():
            manifest = read_manifest(out / MANIFEST, "give a folder that isn't there yet")
            if (manifest.source, manifest.tokenizer) != (source.label, tokens.name):
                raise DataError(
                    f"{out}: holds {manifest.source} in tokens of {manifest.tokenizer}; give another folder"
                )
            return
        num_ranks = self._num_ranks(job)
        out.parent.mkdir(parents=True, exist_ok=True)
        with filling(out) as temporary:
            finish_folder(
                temporary, source, tokens, *self._write(temporary, num_ranks, source.label, tokens.vocab_size)
            )

    def _num_ranks(self, job: str) -> int:
        """Number of blocks, which is the number of ranks, all of them done and of this job."""
        records = {
            path.name: _block(path)
            for path in self.job.scratch.glob("block_*.json")
            if BLOCK.fullmatch(path.name)
        }
        counts = {
            int(name.removesuffix(".json").rpartition("_")[2])
            for name, block in records.items()
            if block and block.job == job
        }
        if len(counts) != 1:
            found = f"blocks of {sorted(counts)} ranks" if counts else "no block of this source and tokenizer"
            raise DataError(
                f"{self.job.scratch}: holds {found}; run the first step again, in an empty folder"
            )
        (count,) = counts
        for rank in range(count):
            record = self.job.path(rank, count, ".json")
            block = records.get(record.name)
            if block and block.job == job and (damage := _damage(record, block)):
                raise DataError(f"{damage}; run the first step again, which makes it anew")
            if block is None or block.job != job:
                raise DataError(
                    f"{self.job.scratch}: rank {rank} of {count} isn't done; run the first step again"
                )
        return count

    def _write(
        self, folder: Path, num_ranks: int, label: str, vocab_size: int
    ) -> tuple[dict[str, Split], int]:
        """Write the splits; gives their records, and how many documents were left out."""
        indices = [_rows(self.job.path(rank, num_ranks, ".npy")) for rank in range(num_ranks)]
        blocks = [_block(self.job.path(rank, num_ranks, ".json")) for rank in range(num_ranks)]
        left_out = sum(block.left_out for block in blocks if block)
        so_far = None
        for row in (row for index in indices for row in index if row["tokens"]):
            digest, num_tokens = row["digest"].tobytes(), int(row["tokens"]) - 1
            so_far = (so_far or Extremes.of(digest, num_tokens)).including(digest, num_tokens)
        extremes = check_two_documents(so_far, label)
        data = self.job.data
        rule = SplitRule(
            val_share=data.val_share, long_share=data.long_share, long_min_tokens=self.job.long_min_tokens
        )
        seen: set[bytes] = set()
        dtype = token_dtype(vocab_size)
        with SplitWriters(folder, {}, form=shard_format(vocab_size)) as writers:
            for rank, index in enumerate(indices):
                flat = _tokens(self.job.path(rank, num_ranks, ".tokens"), dtype)
                starts = np.concatenate([[0], np.cumsum(index["tokens"])])
                for number, row in enumerate(index):
                    digest = row["digest"].tobytes()
                    if digest in seen:
                        continue
                    seen.add(digest)
                    if not row["tokens"]:
                        left_out += 1
                        continue
                    ids = flat[starts[number] : starts[number + 1]]
                    writers.add(rule.place(digest, len(ids) - 1, extremes), ids, int(row["text_bytes"]))
                    if number % FLUSH_DOCUMENTS == 0:
                        writers.flush()
                writers.flush()
        return writers.splits(), left_out


def _block(record: Path) -> Block | None:
    """The record of a block; None where it is missing or damaged, which means that the block isn't done."""
    try:
        return read_record(record, Block)
    except (OSError, ValueError):
        return None


def _damage(record: Path, block: Block) -> str:
    """What is wrong with the files of a block; empty where they are as they were written."""
    for suffix, expected in ((".tokens", block.tokens_sha256), (".npy", block.index_sha256)):
        path = record.with_suffix(suffix)
        try:
            actual = file_sha256(path)
        except OSError as error:
            return f"{path}: can't be read ({error.strerror})"
        if actual != expected:
            return f"{path}: has changed since it was written"
    return ""


def _rows(path: Path) -> npt.NDArray[np.void]:
    try:
        # The form that `np.save` writes, whose header has 64 KiB at most; in later ones it may have 4 GiB.
        with disk.open_regular(path) as file:
            if file.read(len(NPY)) != NPY:
                raise ValueError("another form")
        # Mapped, so that a wrong shape costs no memory.
        rows: npt.NDArray[np.void] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        raise _damaged(path) from None
    if rows.dtype != INDEX or rows.ndim != 1:
        raise _damaged(path)
    return rows


def _tokens(path: Path, dtype: np.dtype[np.unsignedinteger]) -> npt.NDArray[np.unsignedinteger]:
    try:
        disk.check_regular(path)
        # The operating system refuses to map an empty file.
        empty = not path.stat().st_size
        return np.zeros(0, dtype=dtype) if empty else np.memmap(path, dtype=dtype, mode="r")
    except (OSError, ValueError):
        raise _damaged(path) from None


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: damaged or not there; run the first step again, in an empty folder")
