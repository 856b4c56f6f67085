"""The manifest of shards that have none: every token is read once and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ngptlab.data.shards.format import Shard, file_sha256
from ngptlab.data.shards.manifest import Manifest, Split
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.tokens.gpt2 import Gpt2Tokenizer
from ngptlab.data.tokens.tokenizer import Tokenizer
from ngptlab.errors import DataError

I64 = npt.NDArray[np.int64]


def scan(folder: Path, files: dict[str, list[str]], vocabulary: Tokenizer, *, source: str) -> Manifest:
    """Read every token of the shards named for each split once, in pieces of fixed size.

    Raises:
        DataError: a shard is damaged, or holds a token that the vocabulary lacks.
    """
    byte_lengths = vocabulary.byte_lengths()
    splits = {}
    for split, names in files.items():
        shards = []
        total_V = np.zeros(vocabulary.vocab_size, dtype=np.int64)
        for name in names:  # one table of counts at a time, because there may be a thousand files
            counts_V = _count(folder / name, vocabulary)
            shards.append(_shard(folder / name, counts_V))
            total_V += counts_V
        splits[split] = Split(
            shards=tuple(shards),
            documents=int(total_V[vocabulary.end_of_text]),
            tokens=int(total_V.sum()),
            text_bytes=int(total_V @ byte_lengths),
            max_token=max((shard.max_token for shard in shards), default=0),
        )
    return Manifest(
        source=source,
        tokenizer=vocabulary.name,
        vocab_size=vocabulary.vocab_size,
        end_of_text=vocabulary.end_of_text,
        splits=splits,
    )


def _count(path: Path, vocabulary: Tokenizer) -> I64:
    """How often each token of the vocabulary stands in a shard. Shape [V]."""
    counts_V = np.zeros(vocabulary.vocab_size, dtype=np.int64)
    for piece in TokenStream([path]).pieces():
        if (largest := int(piece.max())) >= vocabulary.vocab_size:
            fits_gpt2 = vocabulary.name == "bytes" and largest < Gpt2Tokenizer.vocab_size
            other = "; if these are GPT-2's, give --data.tokenizer gpt2" if fits_gpt2 else ""
            raise DataError(
                f"{path}: holds token {largest}, data.tokenizer {vocabulary.name} has "
                f"{vocabulary.vocab_size} tokens; name the tokenizer that the shards were made with{other}"
            )
        counts_V += np.bincount(piece, minlength=len(counts_V))
    return counts_V


def _shard(path: Path, counts_V: I64) -> Shard:
    return Shard(
        file=path.name,
        sha256=file_sha256(path),
        bytes=path.stat().st_size,
        tokens=int(counts_V.sum()),
        max_token=int(np.flatnonzero(counts_V).max(initial=0)),
    )
