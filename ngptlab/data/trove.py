"""`data prepare` over many machines: two steps for the executors of `datatrove`, local, Slurm or Ray.

    encode, merge = steps(data, out, scratch)
    first = SlurmPipelineExecutor([encode], tasks=200, ...)
    SlurmPipelineExecutor([merge], tasks=1, depends=first, ...).run()

Each rank of the first step encodes a block of the source's parts (files) into a scratch folder that all machines see; the
second step, one rank, copies the blocks in order, drops copies, and splits. The shards and the manifest are those of
`data prepare`, byte for byte, for any number of ranks. datatrove itself isn't imported here: its pipelines take any
callable.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ngptlab.config import DataConfig, Frozen
from ngptlab.data import sources
from ngptlab.data.drafts import Drafts
from ngptlab.data.formats import TEXT_COLUMN
from ngptlab.data.manifest import MANIFEST, Split, read_manifest
from ngptlab.data.prepare import finish, hashed
from ngptlab.data.sources import Source
from ngptlab.data.splits import Extremes, Rule, enough
from ngptlab.data.tokenize import Tokenizer, tokenizer
from ngptlab.disk import create, naming, replacing, write_text
from ngptlab.errors import DataError
from ngptlab.folders import filling

INDEX = np.dtype([("digest", "u1", (32,)), ("tokens", "<i8"), ("text_bytes", "<i8")])
FLUSH_DOCUMENTS = 1000


class Block(Frozen):
    """The record of a rank's block, written when the rest of it is complete."""

    job: str
    """Stands for the source and the tokenizer."""


@dataclass(frozen=True)
class Job:
    """What both steps must agree on."""

    data: DataConfig
    out: Path
    scratch: Path
    long_min_tokens: int
    column: str
    split: str
    revision: str

    def open(self) -> tuple[Source, Tokenizer, str]:
        """The source, the tokenizer, and what stands for both in the records of blocks."""
        source = sources.find(self.data.source, column=self.column, split=self.split, revision=self.revision)
        tokens = tokenizer(self.data.tokenizer, self.data.end_of_text)
        return source, tokens, f"{source.fingerprint()} {tokens.name} {tokens.end_of_text}"

    def path(self, rank: int, num_ranks: int, suffix: str) -> Path:
        """A file of a block."""
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
) -> tuple[Encode, Merge]:
    """The two steps. `out` is a folder that isn't there yet; `scratch` is left to be deleted by hand.

    Args:
        column, split, revision: as for `sources.find`.
    """
    job = Job(data, Path(out), Path(scratch), long_min_tokens, column, split, revision)
    return Encode(job), Merge(job)


@dataclass(frozen=True)
class Encode:
    """First step, for as many ranks as there are parts at most."""

    job: Job

    def __call__(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Encode the rank's block. A rank that was killed begins again; one that is done already does nothing.

        Raises:
            DataError: the source can't be read.
            OSError: the scratch folder can't be written.
        """
        source, tokens, job = self.job.open()
        record = self.job.path(rank, world_size, ".json")
        if record.exists() and Block.model_validate_json(record.read_bytes()).job == job:
            return
        record.unlink(missing_ok=True)
        self.job.scratch.mkdir(parents=True, exist_ok=True)
        rows: list[tuple[Any, int, int]] = []
        before = np.array([tokens.end_of_text], dtype="<u2")
        path = self.job.path(rank, world_size, ".tokens")
        with naming(path), create(path) as file:
            # Blocks of consecutive parts, so that the ranks' order is the source's.
            for part in range(
                source.num_parts * rank // world_size, source.num_parts * (rank + 1) // world_size
            ):
                for _, text, digest in hashed(source, part):
                    ids = np.concatenate([before, tokens.encode(text.decode())])
                    file.write(ids.data)
                    rows.append((np.frombuffer(digest, dtype=np.uint8), len(ids), len(text)))
        with replacing(self.job.path(rank, world_size, ".npy")) as index:
            np.save(index, np.array(rows, dtype=INDEX), allow_pickle=False)
        write_text(record, Block(job=job).model_dump_json())


@dataclass(frozen=True)
class Merge:
    """Second step, for one rank, once all ranks of the first are done."""

    job: Job

    def __call__(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the shards and the manifest; the folder is there as a whole or not at all.

        Raises:
            DataError: a rank of the first step isn't done, or the folder holds something else.
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
            finish(temporary, source, tokens, self._write(temporary, num_ranks, source.label))

    def _num_ranks(self, job: str) -> int:
        """How many blocks there are, all of them of this job."""
        records = {
            path.name: Block.model_validate_json(path.read_bytes())
            for path in self.job.scratch.glob("block_*.json")
        }
        counts = {
            int(name.removesuffix(".json").rpartition("_")[2])
            for name, block in records.items()
            if block.job == job
        }
        if len(counts) != 1:
            found = f"blocks of {sorted(counts)} ranks" if counts else "no block of this source and tokenizer"
            raise DataError(
                f"{self.job.scratch}: holds {found}; run the first step again, in an empty folder"
            )
        (count,) = counts
        for rank in range(count):
            block = records.get(self.job.path(rank, count, ".json").name)
            if block is None or block.job != job:
                raise DataError(
                    f"{self.job.scratch}: rank {rank} of {count} isn't done; run the first step again"
                )
        return count

    def _write(self, folder: Path, num_ranks: int, label: str) -> dict[str, Split]:
        indices = [
            np.load(self.job.path(rank, num_ranks, ".npy"), allow_pickle=False) for rank in range(num_ranks)
        ]
        found = None
        for row in (row for index in indices for row in index):
            digest, num_tokens = row["digest"].tobytes(), int(row["tokens"]) - 1
            found = (found or Extremes.of(digest, num_tokens)).including(digest, num_tokens)
        extremes = enough(found, label)
        data = self.job.data
        rule = Rule(
            val_share=data.val_share, long_share=data.long_share, long_min_tokens=self.job.long_min_tokens
        )
        seen: set[bytes] = set()
        with Drafts(folder, {}) as drafts:
            for rank, index in enumerate(indices):
                if not len(index):  # an empty map is an error in the operating system
                    continue
                flat = np.memmap(self.job.path(rank, num_ranks, ".tokens"), dtype="<u2", mode="r")
                starts = np.concatenate([[0], np.cumsum(index["tokens"])])
                for number, row in enumerate(index):
                    digest = row["digest"].tobytes()
                    if digest in seen:
                        continue
                    seen.add(digest)
                    ids = flat[starts[number] : starts[number + 1]]
                    drafts.add(rule.place(digest, len(ids) - 1, extremes), ids, int(row["text_bytes"]))
                    if number % FLUSH_DOCUMENTS == 0:
                        drafts.flush()
                drafts.flush()
        return drafts.splits()
