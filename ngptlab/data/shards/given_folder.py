"""Existing shards, anybody's folder of `.bin` files, used as they are: `shards:DIR`.

A file's split is in its name. A manifest is made on first use, beside the shards or, where that folder can't be
written, in the cache. All digests are computed once per manifest and machine. Later runs compare headers, sizes and
the last bytes of every file. That takes milliseconds, and finds files that are cut off, grown or not yet complete.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from pathlib import Path

from ngptlab import disk
from ngptlab.config import DataConfig
from ngptlab.data.shards.cache import cache_folder
from ngptlab.data.shards.format import is_evaluation
from ngptlab.data.shards.make_manifest import make_manifest
from ngptlab.data.shards.manifest import (
    MANIFEST,
    SPLITS,
    Manifest,
    cached_manifest,
    check_digest,
    check_size,
    damaged,
    locate_manifest,
    read_manifest,
    write_manifest,
)
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.tokens.choose import check_vocabulary, tokenizer, tokenizer_name, tokenizer_option
from ngptlab.disk import write_json
from ngptlab.errors import DataError

SCHEME = "shards:"
TAIL_BYTES = 4096
NAMING = "files are taken by their names, *train*.bin, *val*.bin and, if there are any, *long*.bin"
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)

log = logging.getLogger(__name__)


def open_given_folder(data: DataConfig, *, vocab_size: int) -> tuple[Path, Manifest]:
    """The folder of a `shards:DIR` source and its manifest, which is made on first use. All files are checked against it.

    Args:
        vocab_size: vocabulary size of the model that will read them.

    Raises:
        DataError: the folder lacks a split, a shard is damaged or holds tokens that its tokenizer lacks, or the
            manifest is of other files or of another tokenizer.
        OSError: the manifest can be written neither beside the shards nor in the cache.
    """
    folder = _folder(data)
    files = _files(folder, data.source)
    for names in files.values():
        TokenStream([folder / name for name in names])  # raises on a broken header, before long work
    path = locate_manifest(folder)
    remedy = f"delete {path} if the change is meant, or restore the shard"
    if path.exists():
        manifest = read_manifest(path, remedy)
        _check_agrees(manifest, path, data, files)
        _check_files(folder, manifest, remedy)
    else:
        vocabulary = tokenizer(data.tokenizer, data.end_of_text)
        check_vocabulary(vocabulary.name, vocabulary.vocab_size, vocab_size)
        log.info("reading %s for its manifest, once", folder)
        source = f"{SCHEME}{disk.name_of(folder)}"
        manifest = make_manifest(folder, files, vocabulary, source=source)
        _write(manifest, folder)
        _remember(folder, manifest)
    return folder, manifest


def more_tokens(data: DataConfig, split: str) -> str:
    """How a user gives a source more tokens in a split, for the end of a message."""
    folder = given_folder(data)
    if folder is not None:
        return f"another *{split}*.bin in {folder} (delete its {MANIFEST}, which is made anew)"
    return "more text, or a larger --data.val-share" if split == "val" else "more text through --data.source"


def given_folder(data: DataConfig) -> Path | None:
    """The folder that a `shards:DIR` source names; None for other sources."""
    place = data.source.removeprefix(SCHEME)
    return Path(os.path.expanduser(place)) if place and place != data.source else None


def given_training_stream(data: DataConfig) -> TokenStream:
    """Training tokens of a `shards:DIR` source. Only the headers of its files are read.

    Raises:
        DataError: the folder lacks a split, or a shard is damaged.
    """
    folder = _folder(data)
    return TokenStream([folder / name for name in _files(folder, data.source)["train"]])


def _folder(data: DataConfig) -> Path:
    folder = given_folder(data)
    if folder is None:
        raise DataError(f"data.source {SCHEME!r} names no folder; give {SCHEME}DIR with .bin shards")
    return folder


def _files(folder: Path, source: str) -> dict[str, list[str]]:
    """File names of each split, in order."""
    try:
        names = sorted(path.name for path in folder.iterdir() if path.suffix == ".bin")
        evaluations = [name for name in names if is_evaluation(folder / name)]
    except OSError as error:
        raise DataError(
            f"data.source {source!r}: {folder} can't be read as a folder ({error.strerror}); give shards: and "
            "a folder of .bin shards, as llm.c and modded-nanogpt write them"
        ) from None
    files: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in names:
        if name in evaluations:  # by its name alone, `hellaswag_val.bin` would be validation text
            continue
        matching = [split for split in SPLITS if split in name.lower()]
        if len(matching) > 1:
            raise DataError(
                f"{folder / name}: is it {' or '.join(matching)}? {NAMING}; rename it to have one of them"
            )
        for split in matching:
            files[split].append(name)
    for split in ("train", "val"):
        if not files[split]:
            there = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "no .bin file"
            but = f" ({evaluations[0]} is an evaluation of llm.c, not text)" if evaluations else ""
            raise DataError(
                f"{folder}: no *{split}*.bin among {there}{but}; {NAMING}; the first two are needed, so move or "
                "link a shard there, or make some with `ngptlab data prepare`"
            )
    return files


def _check_agrees(manifest: Manifest, path: Path, data: DataConfig, files: dict[str, list[str]]) -> None:
    name = tokenizer_name(data.tokenizer)
    if manifest.tokenizer != name:
        also = f" ({name})" if name != data.tokenizer else ""
        raise DataError(
            f"{path}: its shards hold tokens of {manifest.tokenizer}, data.tokenizer is {data.tokenizer}{also}; "
            f"give --data.tokenizer {tokenizer_option(manifest.tokenizer)}"
        )
    if data.end_of_text and tokenizer(data.tokenizer, data.end_of_text).end_of_text != manifest.end_of_text:
        raise DataError(
            f"{path}: its documents begin with token {manifest.end_of_text}, which is not data.end_of_text "
            f"{data.end_of_text!r}; leave it out"
        )
    listed = {shard.file for shard in manifest.shards}
    present = {file for names in files.values() for file in names}
    for names, verb, then in (
        (present - listed, "doesn't list", ""),
        (listed - present, "lists", ", which is not there"),
    ):
        if names:
            raise damaged(
                path, f"{verb} {min(names)}{then}", "restore the files, or delete it to have it made again"
            )


def _check_files(folder: Path, manifest: Manifest, remedy: str) -> None:
    for shard in manifest.shards:
        check_size(folder, shard, remedy)
    try:
        tails = disk.read_json(_record(folder, manifest))
    except (OSError, ValueError):
        tails = {}
    if not isinstance(tails, dict) or tails.keys() != {shard.file for shard in manifest.shards}:
        log.info("comparing the digests of %s, once", folder)
        for shard in manifest.shards:
            check_digest(folder, shard, remedy)
        _remember(folder, manifest)
        return
    for shard in manifest.shards:
        if _tail_sha256(folder / shard.file) != tails[shard.file]:
            raise damaged(folder / shard.file, f"has changed in its last {TAIL_BYTES} bytes", remedy)


def _record(folder: Path, manifest: Manifest) -> Path:
    """The file in the cache with the digests of the last bytes of all files, kept once their whole digests were compared."""
    names = f"{folder.resolve()}\0{manifest.model_dump_json()}"
    key = hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache_folder() / "checked" / f"{key}.json"


def _remember(folder: Path, manifest: Manifest) -> None:
    tails = {shard.file: _tail_sha256(folder / shard.file) for shard in manifest.shards}
    path = _record(folder, manifest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, tails)
    except OSError as error:
        log.info("%s: can't be written (%s), so digests will be compared again", path, error.strerror)


def _tail_sha256(path: Path) -> str:
    with disk.open_regular(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        return hashlib.sha256(file.read()).hexdigest()


def _write(manifest: Manifest, folder: Path) -> None:
    """Write the manifest beside the shards or, where their folder can't be written, into the cache."""
    for place in (folder / MANIFEST, cached_manifest(folder)):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_manifest(manifest, place)
            return
        except OSError as error:
            if place.parent != folder or error.errno not in READ_ONLY:
                raise
