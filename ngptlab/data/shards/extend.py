"""A folder of shards that gets more of them: the new files alone are read, their counts added to the manifest's."""

from __future__ import annotations

from pathlib import Path

from ngptlab.data.shards.make_manifest import scan
from ngptlab.data.shards.manifest import (
    SPLITS,
    Manifest,
    Split,
    locate_manifest,
    read_manifest,
    write_manifest,
)
from ngptlab.data.tokens.choose import given_as, tokenizer, tokenizer_name
from ngptlab.errors import DataError


def extend(folder: Path, files: dict[str, list[str]], vocabulary: str) -> Manifest | None:
    """Add the files named for each split to the folder's manifest; None where it has none yet, for its first use makes one.

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
            f"{given_as(manifest.tokenizer)} or another --out"
        )
    tokens = tokenizer(vocabulary)
    if manifest.end_of_text != tokens.end_of_text:
        raise DataError(
            f"{folder}: its documents begin with token {manifest.end_of_text}, those of {vocabulary} with "
            f"{tokens.end_of_text}; give another --out"
        )
    listed = {shard.file for split in manifest.splits.values() for shard in split.shards}
    new = {split: [file for file in files.get(split, []) if file not in listed] for split in SPLITS}
    if any(new.values()):
        added = scan(folder, new, tokens, source=manifest.source)
        splits = {name: _joined(manifest.splits[name], added.splits[name]) for name in SPLITS}
        manifest = manifest.model_copy(update={"splits": splits})
        write_manifest(manifest, path)
    return manifest


def _joined(a: Split, b: Split) -> Split:
    """In the order of names, as a manifest made at once would have it."""
    return Split(
        shards=tuple(sorted(a.shards + b.shards, key=lambda shard: shard.file)),
        documents=a.documents + b.documents,
        tokens=a.tokens + b.tokens,
        text_bytes=a.text_bytes + b.text_bytes,
        max_token=max(a.max_token, b.max_token),
    )
