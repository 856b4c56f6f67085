"""A corpus: found in the cache or made there, or somebody's folder of shards (shards/given_folder.py); checked, opened.

A corpus made here is a folder `data/<key>` in the cache. The key is a digest of everything that decides the tokens. The
folder is filled under a hidden name and then renamed, so it is there as a whole or not at all. A kill leaves a hidden folder,
which nothing reads and anybody may delete.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import NamedTuple

from ngptlab.config import DataConfig, RunConfig
from ngptlab.data.prepare.text_to_shards import prepare
from ngptlab.data.shards.cache import cache_folder
from ngptlab.data.shards.format import HEADER_BYTES
from ngptlab.data.shards.given_folder import SCHEME, given_training_stream, open_given_folder
from ngptlab.data.shards.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    SPLITS,
    Manifest,
    Split,
    check_digest,
    check_size,
    read_manifest,
)
from ngptlab.data.shards.published import check_downloaded
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.text import sources
from ngptlab.data.tokens.choose import check_vocabulary, tokenizer, tokenizer_name
from ngptlab.errors import DataError
from ngptlab.folders import filling, make

__all__ = ["Corpus", "Manifest", "Split", "open_corpus", "open_data"]

log = logging.getLogger(__name__)


class Corpus:
    """A folder of shards and its manifest, opened for reading.

    Raises:
        DataError: a shard is missing, or its header contradicts its length.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.train, self.val, self.long = (TokenStream(manifest.paths(folder, name)) for name in SPLITS)

    @property
    def digest(self) -> str:
        """Digest of the tokens, the same on every machine: two runs with equal digests read the same data."""
        return self.manifest.digest

    @property
    def end_of_text(self) -> int:
        """The token before every document."""
        return self.manifest.end_of_text


def open_data(config: RunConfig) -> Corpus:
    """The corpus of a config, prepared if it isn't yet.

    Raises:
        DataError: as for `open_corpus`; published shards are missing, and the message names the command that gets them.
    """
    check_downloaded(config.data, tokens=config.train.tokens)
    longest = long_document_tokens(config)
    return open_corpus(config.data, vocab_size=config.model.vocab_size, long_min_tokens=longest)


def long_document_tokens(config: RunConfig) -> int:
    """Tokens that a document must have for the length evaluation of a config."""
    return config.eval.length_factor * config.train.context


def open_corpus(data: DataConfig, *, vocab_size: int, long_min_tokens: int) -> Corpus:
    """The corpus of `data`, prepared in the cache on first use. Safe to call from several processes at once.

    Args:
        vocab_size: vocabulary size of the model that will read it.
        long_min_tokens: length from which a document may be kept for the length evaluation.

    Raises:
        DataError: the source can't be read or is too small, the cache can't be written, the manifest or a shard
            is missing or damaged (nothing is deleted), or a token is beyond the model's vocabulary.
    """
    is_folder = data.source.startswith(SCHEME)
    corpus = _open_given(data, vocab_size) if is_folder else _open_prepared(data, vocab_size, long_min_tokens)
    check_vocabulary(corpus.manifest.tokenizer, corpus.manifest.vocab_size, vocab_size)
    for name, split in corpus.manifest.splits.items():
        if split.max_token >= vocab_size:
            raise DataError(
                f"{corpus.folder}: the {name} split holds token {split.max_token}, the model's vocabulary is "
                f"{vocab_size}; set --model.vocab-size {split.max_token + 1} or more"
            )
    return corpus


class Size(NamedTuple):
    """How large a split is."""

    tokens: int
    bytes: int
    """Bytes of the tokens on the disk."""


def known_size(data: DataConfig, *, long_min_tokens: int) -> Size | None:
    """Size of the training split of `data`; None where it is not prepared yet. Reads the manifest and headers alone.

    Raises:
        DataError: the source isn't there, can't be read or is a data set, which no run reads itself; a manifest or a
            shard's header is damaged.
    """
    if data.source.startswith(SCHEME):
        stream = given_training_stream(data)
        return Size(len(stream), stream.nbytes)
    path = _place(data, long_min_tokens) / MANIFEST
    if not path.exists():
        return None
    train = read_manifest(path, f"delete the folder {path.parent} to have it made again").splits["train"]
    return Size(train.tokens, sum(shard.bytes - HEADER_BYTES for shard in train.shards))


def _open_given(data: DataConfig, vocab_size: int) -> Corpus:
    try:
        return Corpus(*open_given_folder(data, vocab_size=vocab_size))
    except OSError as error:
        raise DataError(
            f"{data.source}: its manifest can't be written ({error.strerror}); make room or set NGPTLAB_CACHE "
            "to a folder that can be written"
        ) from None


def _open_prepared(data: DataConfig, vocab_size: int, long_min_tokens: int) -> Corpus:
    folder = _place(data, long_min_tokens)
    try:
        if not folder.exists():
            _make(data, folder, vocab_size, long_min_tokens)
    except OSError as error:
        raise DataError(
            f"{folder.parent}: the prepared corpus can't be written ({error.strerror}); "
            "set NGPTLAB_CACHE to a folder that can be, with room for it"
        ) from None
    remedy = f"delete the folder {folder} to have it made again"
    manifest = read_manifest(folder / MANIFEST, remedy)
    for shard in manifest.shards:
        check_size(folder, shard, remedy)
        check_digest(folder, shard, remedy)
    return Corpus(folder, manifest)


def _place(data: DataConfig, long_min_tokens: int) -> Path:
    """The folder in the cache for the corpus of a source that runs prepare themselves."""
    if data.source.startswith("hf:"):
        raise DataError(
            f"data.source {data.source}: a data set is turned into shards first, once: `ngptlab data prepare "
            f"{data.source} --out DIR`, then --data.source shards:DIR"
        )
    parts = [
        FORMAT_VERSION,
        sources.fingerprint(data.source),
        tokenizer_name(data.tokenizer),
        data.val_share,
        data.long_share,
        long_min_tokens,
        *([data.end_of_text] if data.end_of_text else []),
    ]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    return cache_folder() / "data" / key


def _make(data: DataConfig, folder: Path, vocab_size: int, long_min_tokens: int) -> None:
    tokens = tokenizer(data.tokenizer, data.end_of_text)
    check_vocabulary(tokens.name, tokens.vocab_size, vocab_size)  # before the work, not after it
    log.info("preparing %s in %s, once", data.source, folder)
    make(folder.parent)
    try:
        with filling(folder) as temporary:
            prepare(data, tokens, temporary, long_min_tokens=long_min_tokens)
    except OSError:
        if not folder.exists():
            raise
        # Another process was faster. Its corpus is the same, so ours goes.
