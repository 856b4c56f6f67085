"""All that can be checked of a folder of shards: every byte, every token, every document. Changes nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ngptlab.data.shards.format import Shard
from ngptlab.data.shards.manifest import (
    MADE_UP,
    MANIFEST,
    SPLITS,
    Manifest,
    check_digest,
    check_size,
    damaged,
    locate_manifest,
    read_manifest,
)
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.shards.token_bytes import token_bytes
from ngptlab.data.tokens.choose import tokenizer_name, tokenizer_option
from ngptlab.data.tokens.file_tokenizer import FILE_NAME
from ngptlab.errors import DataError

I64 = npt.NDArray[np.int64]
NO_MANIFEST = "fetch or make it again; the first run with --data.source shards:DIR makes one beside shards that have none"
REMEDY = "fetch or make it again"
HASH_BYTES = 16  # of each held-out document, in memory: two different documents agree once in 2**128


class Checked(NamedTuple):
    """What was checked in a folder without damage."""

    manifest: Manifest
    compared: dict[str, int]
    """Number of documents of each split, all of which were looked for in the other splits."""
    unchecked: str
    """Why the manifest's bytes of text weren't counted; empty where they were."""


class _Counted(NamedTuple):
    documents: int
    text_bytes: int


def verify(folder: Path, *, vocabulary: str = "") -> Checked:
    """Check the manifest, then every shard and the counts of its content, then that no document is in two splits.

    Of several signs of damage to a shard, the most telling is reported: a wrong header before a wrong digest.

    Args:
        vocabulary: a tokenizer's file, as `data.tokenizer`, where the manifest names one. Bytes of text are counted with it.

    Raises:
        DataError: the first damage found, in one line; the file is of another tokenizer.
    """
    path = locate_manifest(folder)
    manifest = read_manifest(path, NO_MANIFEST)
    _check_listing(path, manifest)
    counting, unchecked = _counting(path, manifest, vocabulary)
    for name, split in manifest.splits.items():
        counted = [_check_shard(folder, shard, manifest, counting) for shard in split.shards]
        documents, text_bytes = (sum(counts) for counts in zip(*counted, (0, 0), strict=True))
        if documents != split.documents:
            problem = f"says {split.documents} documents for {name}, {documents} begin in its shards"
            raise damaged(path, problem, REMEDY)
        if not unchecked and text_bytes != split.text_bytes:
            problem = f"says {split.text_bytes} bytes of text for {name}, its tokens stand for {text_bytes}"
            raise damaged(path, problem, REMEDY)
    return Checked(manifest, _check_overlap(folder, manifest), unchecked)


def _check_listing(path: Path, manifest: Manifest) -> None:
    twice = [file for file, count in Counter(shard.file for shard in manifest.shards).items() if count > 1]
    if twice:
        raise damaged(path, f"lists {twice[0]} twice", REMEDY)


def _counting(path: Path, manifest: Manifest, vocabulary: str) -> tuple[I64, str]:
    """Bytes of text of each token, [V], and why they can't be counted; empty where they can."""
    name = vocabulary or manifest.tokenizer
    if vocabulary and tokenizer_name(vocabulary) != manifest.tokenizer:
        raise DataError(
            f"--tokenizer {vocabulary}: the shards hold tokens of {manifest.tokenizer}; give "
            f"{tokenizer_option(manifest.tokenizer)}"
        )
    zeros_V = np.zeros(manifest.vocab_size, dtype=np.int64)
    if name.startswith(FILE_NAME) and manifest.source != MADE_UP:
        return zeros_V, f"that takes --tokenizer FILE, {tokenizer_option(manifest.tokenizer)}"
    counts = token_bytes(name, manifest)
    if not counts.exact:
        return zeros_V, f"tokens of {manifest.tokenizer} stand for no fixed number of bytes"
    if len(counts.within_V) != manifest.vocab_size or manifest.end_of_text >= manifest.vocab_size:
        problem = f"says {manifest.vocab_size} tokens and end of text {manifest.end_of_text} for {manifest.tokenizer}"
        raise damaged(path, problem, REMEDY)
    return counts.within_V, ""


def _check_shard(folder: Path, shard: Shard, manifest: Manifest, bytes_V: I64) -> _Counted:
    """Check a file's content; gives the counts of its documents and bytes of text."""
    path = folder / shard.file
    # Opening reads the header and compares it with the length. A missing file is named there too.
    stream = TokenStream([path])
    check_size(folder, shard, REMEDY)
    if len(stream) != shard.tokens:
        raise damaged(path, f"holds {len(stream)} tokens where the manifest says {shard.tokens}", REMEDY)
    largest = documents = text_bytes = 0
    for piece in stream.pieces():
        largest = max(largest, int(piece.max()))
        if largest >= manifest.vocab_size:
            beyond = f"holds token {largest}, the {manifest.tokenizer} tokenizer has {manifest.vocab_size}"
            raise damaged(path, beyond, f"{REMEDY}, or name the tokenizer it was made with")
        documents += int((piece == manifest.end_of_text).sum())
        text_bytes += int(bytes_V[piece].sum())
    check_digest(folder, shard, REMEDY)
    if largest != shard.max_token:
        problem = f"says {shard.max_token} is the largest token of {shard.file}, it is {largest}"
        raise damaged(folder / MANIFEST, problem, REMEDY)
    return _Counted(documents, text_bytes)


def _check_overlap(folder: Path, manifest: Manifest) -> dict[str, int]:
    """Look up the documents of each split in the splits before it. The training split, the largest, comes last."""
    seen: dict[bytes, str] = {}
    compared: dict[str, int] = {}
    for name in sorted(SPLITS, key=lambda split: split == "train"):
        own: set[bytes] = set()
        compared[name] = 0
        stream = TokenStream(manifest.paths(folder, name))
        for number, document in enumerate(stream.documents(1, manifest.end_of_text)):
            digest = hashlib.sha256(document.astype("<u4").tobytes()).digest()[:HASH_BYTES]
            if digest in seen:
                problem = f"splits overlap, document {number} of {name} is also in {seen[digest]}"
                raise damaged(
                    folder, problem, "a loss on text that was trained on says little; split it anew"
                )
            if name != "train":  # nothing is looked up in it, so its hashes need no memory
                own.add(digest)
            compared[name] += 1
        seen |= dict.fromkeys(own, name)
    return compared
