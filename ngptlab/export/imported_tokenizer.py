"""The tokenizer of an imported model."""

from __future__ import annotations

from pathlib import Path

from ngptlab.config import RunConfig, parse
from ngptlab.data.tokens.choose import FILE_SUFFIX, UNKNOWN, tokenizer
from ngptlab.data.tokens.file_tokenizer import FileTokenizer
from ngptlab.data.tokens.gpt2 import Gpt2Tokenizer
from ngptlab.data.tokens.tokenizer import ByteTokenizer
from ngptlab.errors import ConfigError, DataError

PADDED_GPT2 = 50304
"""Rows of the vocabulary in which the public trainers store GPT-2's 50,257 tokens."""
KNOWN_SIZES = {kind.name: kind.vocab_size for kind in (Gpt2Tokenizer, ByteTokenizer)}
"""Sizes of vocabularies, known here because loading GPT-2's needs a network."""


def find_tokenizer(given: str | None, end_of_text: str, rows: int) -> tuple[str, str]:
    """The value for `data.tokenizer` of a model with a vocabulary of this many rows, and a note on it.

    Raises:
        ConfigError: the given tokenizer has more tokens than the model has rows, or can't be used.
    """
    if given is None:
        return _guessed(rows)
    try:
        size = KNOWN_SIZES[given] if given in KNOWN_SIZES else tokenizer(given, end_of_text).vocab_size
    except DataError as error:
        raise ConfigError(f"--tokenizer: {error}") from None
    if size > rows:
        raise ConfigError(
            f"--tokenizer {given}: has {size:,} tokens, the checkpoint's vocabulary has {rows:,} rows; give the tokenizer "
            "that it was trained with: FILE.json, gpt2 or bytes"
        )
    return (
        given,
        f"tokenizer {given}: {size:,} tokens; {rows - size:,} rows of the vocabulary stand for none of them",
    )


def moved_tokenizer(config: RunConfig, folder: Path, given: str | None, end_of_text: str | None) -> RunConfig:
    """The config of an exported run with the path of its tokenizer file on this machine.

    Raises:
        ConfigError: the run's tokenizer is no file, or the given file gives other tokens.
    """
    trained_with = config.data.tokenizer
    if given is None or not trained_with.endswith(FILE_SUFFIX):
        option = "--end-of-text" if given is None else "--tokenizer"
        raise ConfigError(
            f"{option}: the export names its tokenizer, {trained_with}; the option is for a tokenizer.json that lies elsewhere"
        )
    token = config.data.end_of_text if end_of_text is None else end_of_text
    there = FileTokenizer(str(folder / "tokenizer.json"), token)
    try:
        here = tokenizer(given, token)
    except DataError as error:
        raise ConfigError(f"--tokenizer: {error}") from None
    if not isinstance(here, FileTokenizer) or here.text() != there.text():
        raise ConfigError(
            f"--tokenizer {given}: is not the one that the export was trained with; {folder / 'tokenizer.json'} is"
        )
    fields = config.model_dump()
    fields["data"] |= {"tokenizer": given, "end_of_text": token}
    return parse(fields, origin=f"{folder}: config")


def _guessed(rows: int) -> tuple[str, str]:
    if Gpt2Tokenizer.vocab_size <= rows <= PADDED_GPT2:
        return (
            Gpt2Tokenizer.name,
            f"tokenizer gpt2: assumed, because public trainers store it in {rows:,} rows; --tokenizer names another",
        )
    return UNKNOWN, (
        f"tokenizer {UNKNOWN}: a vocabulary of {rows:,} rows is not GPT-2's; to sample, measure or export, import again with "
        "--tokenizer FILE.json, gpt2 or bytes"
    )
