"""All that can be checked of a folder of shards: every byte, every token, every document. Changes nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from ngptlab.data.manifest import (
    MANIFEST,
    SPLITS,
    Manifest,
    check_digest,
    check_size,
    damaged,
    locate_manifest,
    read_manifest,
)
from ngptlab.data.scan import pieces
from ngptlab.data.shards import Shard, TokenStream

NO_MANIFEST = "the first run with --data.source shards:DIR makes one beside the shards of others"
REMEDY = "fetch or make it again"
HASH_BYTES = 16  # of each held-out document, in memory: two that differ agree once in 2**128


class Checked(NamedTuple):
    """What was looked at in a folder where all is well."""

    manifest: Manifest
    compared: dict[str, int]
    """Documents by split; each was looked for in the other splits."""


def verify(folder: Path) -> Checked:
    """Check the manifest, then every shard, then that no document is in two splits.

    A shard's damage is named by its most telling sign: a wrong header before a wrong digest.

    Raises:
        DataError: the first damage found, in one line.
    """
    manifest = read_manifest(locate_manifest(folder), NO_MANIFEST)
    _check_listing(folder, manifest)
    for split in manifest.splits.values():
        for shard in split.shards:
            _check_shard(folder, shard, manifest)
    return Checked(manifest, _check_overlap(folder, manifest))


def split_stream(folder: Path, manifest: Manifest, split: str) -> TokenStream:
    """The tokens of a split.

    Raises:
        DataError: a file is missing or its header contradicts its length.
    """
    return TokenStream([folder / shard.file for shard in manifest.splits[split].shards])


def _check_listing(folder: Path, manifest: Manifest) -> None:
    files = [shard.file for split in manifest.splits.values() for shard in split.shards]
    for file in files:
        if files.count(file) > 1:
            raise damaged(folder / MANIFEST, f"lists {file} twice", REMEDY)
    for name, split in manifest.splits.items():
        tokens = sum(shard.tokens for shard in split.shards)
        if tokens != split.tokens:
            problem = f"says {split.tokens} tokens for {name}, its shards add up to {tokens}"
            raise damaged(folder / MANIFEST, problem, REMEDY)


def _check_shard(folder: Path, shard: Shard, manifest: Manifest) -> None:
    path = folder / shard.file
    # Opening reads the header and compares it with the length. A missing file is named there too.
    stream = TokenStream([path])
    check_size(folder, shard, REMEDY)
    if len(stream) != shard.tokens:
        raise damaged(path, f"holds {len(stream)} tokens where the manifest says {shard.tokens}", REMEDY)
    largest = max((int(piece.max()) for piece in pieces(stream)), default=0)
    if largest >= manifest.vocab_size:
        beyond = f"holds token {largest}, the {manifest.tokenizer} tokenizer has {manifest.vocab_size}"
        raise damaged(path, beyond, f"{REMEDY}, or name the tokenizer it was made with")
    check_digest(folder, shard, REMEDY)
    if largest != shard.max_token:
        problem = f"says {shard.max_token} is the largest token of {shard.file}, it is {largest}"
        raise damaged(folder / MANIFEST, problem, REMEDY)


def _check_overlap(folder: Path, manifest: Manifest) -> dict[str, int]:
    """Documents of each split looked up in those before it; the training split, the largest, comes last."""
    seen: dict[bytes, str] = {}
    compared: dict[str, int] = {}
    for name in sorted(SPLITS, key=lambda split: split == "train"):
        own: set[bytes] = set()
        compared[name] = 0
        stream = split_stream(folder, manifest, name)
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
