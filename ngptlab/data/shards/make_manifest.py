"""The manifest for shards that have none, or to which files were added. Every token of new files is read once and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ngptlab.data.shards.format import Shard, file_sha256
from ngptlab.data.shards.manifest import (
    SPLITS,
    Manifest,
    Split,
    locate_manifest,
    read_manifest,
    write_manifest,
)
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.tokens.choose import tokenizer, tokenizer_name, tokenizer_option
from ngptlab.data.tokens.gpt2 import Gpt2Tokenizer
from ngptlab.data.tokens.tokenizer import Tokenizer
from ngptlab.errors import DataError

I64 = npt.NDArray[np.int64]


def make_manifest(
    folder: Path, files: dict[str, list[str]], vocabulary: Tokenizer, *, source: str
) -> Manifest:
    """Make a manifest: read every token of the shards named for each split once, in pieces of fixed size.

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


def extend_manifest(folder: Path, files: dict[str, list[str]], vocabulary: str) -> Manifest | None:
    """Add the files named for each split to the folder's manifest. None where it has none yet: the first use makes one.

    Args:
        vocabulary: as `data.tokenizer`.

    Raises:
        DataError: a file is damaged or holds tokens that the tokenizer lacks; the manifest is of another tokenizer, or of
            another end-of-text token.
        OSError: the manifest can't be written.
    """
    path = locate_manifest(folder)
    if not path.exists():
        return None
    manifest = read_manifest(path, "delete it to have it made again")
    if manifest.tokenizer != tokenizer_name(vocabulary):
        raise DataError(
            f"{folder}: holds tokens of {manifest.tokenizer}, not of {vocabulary}; give --tokenizer "
            f"{tokenizer_option(manifest.tokenizer)} or another --out"
        )
    tokens = tokenizer(vocabulary)
    if manifest.end_of_text != tokens.end_of_text:
        raise DataError(
            f"{folder}: its documents begin with token {manifest.end_of_text}, those of {vocabulary} with "
            f"{tokens.end_of_text}; give another --out"
        )
    listed = {shard.file for shard in manifest.shards}
    new = {split: [file for file in files.get(split, []) if file not in listed] for split in SPLITS}
    if any(new.values()):
        added = make_manifest(folder, new, tokens, source=manifest.source)
        splits = {name: _merge(manifest.splits[name], added.splits[name]) for name in SPLITS}
        manifest = manifest.model_copy(update={"splits": splits})
        write_manifest(manifest, path)
    return manifest


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


def _merge(a: Split, b: Split) -> Split:
    """Both splits as one, with files in the order of their names, as in a manifest that is made at once."""
    return Split(
        shards=tuple(sorted(a.shards + b.shards, key=lambda shard: shard.file)),
        documents=a.documents + b.documents,
        tokens=a.tokens + b.tokens,
        text_bytes=a.text_bytes + b.text_bytes,
        max_token=max(a.max_token, b.max_token),
    )
