"""Made-up shards, so that a recipe can be tried without its data: `--smoke`.

Tokens mean nothing. They follow one another by a rule with exceptions, so that a loss falls within a few steps: for a model
that learns the rule, from log(vocabulary) nats towards 1.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ngptlab.data.shards.cache import cache_folder
from ngptlab.data.shards.manifest import MADE_UP, MANIFEST, Manifest, Split, write_manifest
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.data.tokens.choose import tokenizer_name
from ngptlab.errors import DataError
from ngptlab.folders import filling

GPT2_TOKENS = 50_257
STATES = 64
"""Number of different tokens, spread over the vocabulary."""
FOLLOWS = 0.8
"""Fraction of tokens that the token before decides."""
DOCUMENTS = {"train": (60, 1000), "val": (8, 1000), "long": (4, 4000)}
"""Number of documents in each split, and of tokens in each document."""
TRAIN_FILES = 2


def made_up_shards(tokenizer: str, vocab_size: int) -> Path:
    """A folder of shards for a model of that vocabulary, made in the cache on first use. A token counts as one byte of text.

    Args:
        tokenizer: as `data.tokenizer`; a file is known by its digest, as in a run.

    Raises:
        DataError: the cache can't be written, or the tokenizer's file can't be read.
    """
    name = tokenizer_name(tokenizer)
    vocabulary = min(vocab_size, GPT2_TOKENS)
    folder = cache_folder() / "made" / f"{MADE_UP}-{vocabulary}-{name.replace(':', '-')}"
    if folder.exists():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filling(folder) as temporary:
            _fill(temporary, name, vocabulary)
    except OSError as error:
        if not folder.exists():  # no other process was faster
            raise DataError(
                f"{folder}: made-up shards can't be written ({error.strerror}); set NGPTLAB_CACHE to a folder that can be"
            ) from None
    return folder


def _fill(folder: Path, tokenizer: str, vocabulary: int) -> None:
    splits = {}
    for number, (name, (documents, length)) in enumerate(DOCUMENTS.items()):
        files = TRAIN_FILES if name == "train" else 1
        tokens = documents * (1 + length)
        with ShardWriter(folder, name, shard_tokens=-(-tokens // files)) as writer:
            for document in _documents(documents, length, vocabulary, seed=number):
                writer.write(document)
        largest = max(shard.max_token for shard in writer.shards)
        splits[name] = Split(
            shards=tuple(writer.shards),
            documents=documents,
            tokens=tokens,
            text_bytes=documents * length,
            max_token=largest,
        )
    manifest = Manifest(
        source=MADE_UP,
        tokenizer=tokenizer,
        vocab_size=vocabulary,
        end_of_text=vocabulary - 1,
        splits=splits,
    )
    write_manifest(manifest, folder / MANIFEST)


def _documents(count: int, length: int, vocabulary: int, *, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Documents that each begin with the end of text."""
    draw = np.random.default_rng(seed)
    tokens = np.linspace(0, vocabulary - 2, STATES).astype(np.int64)
    for _ in range(count):
        random, follows = draw.integers(STATES, size=length), draw.random(length) < FOLLOWS
        states = np.empty(length, dtype=np.int64)
        state = 0
        for position in range(length):
            state = (5 * state + 1) % STATES if follows[position] else int(random[position])
            states[position] = state
        yield np.concatenate(([vocabulary - 1], tokens[states]))
