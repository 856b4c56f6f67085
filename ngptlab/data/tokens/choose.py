"""The tokenizer that `data.tokenizer` asks for, and what manifests and users call it."""

from __future__ import annotations

from ngptlab.data.tokens.file_tokenizer import FILE_NAME, FileTokenizer, file_name
from ngptlab.data.tokens.gpt2 import Gpt2Tokenizer, gpt2_encoding
from ngptlab.data.tokens.tokenizer import ByteTokenizer, Tokenizer
from ngptlab.errors import DataError, nearest

FILE_SUFFIX = ".json"
UNKNOWN = "unknown"
"""As `data.tokenizer`: that of a model imported without one."""


def tokenizer(given: str, end_of_text: str = "") -> Tokenizer:
    """The tokenizer of `data.tokenizer`: `bytes`; `gpt2`, whose vocabulary tiktoken fetches once; or a `.json` file.

    Args:
        end_of_text: the token of a file that stands before documents; empty: a known one is looked for.

    Raises:
        DataError: the name is unknown, the file is of no use, or the vocabulary is neither cached nor to be had from
            the network.
    """
    if given.endswith(FILE_SUFFIX):
        return FileTokenizer(given, end_of_text)
    if given == "bytes":
        return ByteTokenizer()
    if given == "gpt2":
        return Gpt2Tokenizer(gpt2_encoding())
    if given == UNKNOWN:
        raise DataError(
            "data.tokenizer unknown: the model was imported without its tokenizer; import it again with --tokenizer "
            "FILE.json, gpt2 or bytes"
        )
    raise DataError(
        f"data.tokenizer {given!r} is unknown; {nearest(given, ('bytes', 'gpt2'))}, or a .json file"
    )


def tokenizer_name(given: str) -> str:
    """The name that the tokenizer of `data.tokenizer` has in manifests, found without loading it.

    Raises:
        DataError: the file can't be read.
    """
    if not given.endswith(FILE_SUFFIX):
        return given
    return file_name(given)


def tokenizer_option(name: str) -> str:
    """What a user gives as `data.tokenizer` for the tokenizer that manifests call so."""
    digits = name.removeprefix(FILE_NAME)
    return name if digits == name else f"the tokenizer.json whose SHA-256 begins with {digits}"


def check_vocabulary(name: str, needed: int, vocab_size: int) -> None:
    """Hold a tokenizer's number of tokens against a model's.

    Raises:
        DataError: the model has fewer.
    """
    if needed > vocab_size:
        raise DataError(
            f"the {name} tokenizer has {needed} tokens, the model's vocabulary is {vocab_size}; "
            f"set --model.vocab-size {needed} or more"
        )
