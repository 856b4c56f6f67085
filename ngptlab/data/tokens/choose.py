"""The tokenizer that `data.tokenizer` asks for, and what manifests and users call it."""

from __future__ import annotations

from ngptlab.data.tokens.file_tokenizer import FILE_NAME, FileTokenizer, file_name
from ngptlab.data.tokens.gpt2 import Gpt2Tokenizer, gpt2_encoding
from ngptlab.data.tokens.tokenizer import ByteTokenizer, Tokenizer
from ngptlab.errors import DataError, nearest, shown

FILE_SUFFIX = ".json"
UNKNOWN = "unknown"
"""`data.tokenizer` of a model that was imported without its tokenizer."""


def tokenizer(given: str, end_of_text: str = "") -> Tokenizer:
    """The tokenizer of `data.tokenizer`: `bytes`; `gpt2`, whose vocabulary tiktoken fetches once; or a `.json` file.

    Args:
        end_of_text: for a file, the token before every document. Empty: the one of `KNOWN_ENDS` that the file has.

    Raises:
        DataError: the name is unknown, the file can't be used, or the vocabulary is neither cached nor to be had from
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
        f"data.tokenizer {shown(given)} is unknown; {nearest(given, ('bytes', 'gpt2'))}, or a .json file"
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
    """What a user gives as `data.tokenizer` for the tokenizer of this name in manifests."""
    digits = name.removeprefix(FILE_NAME)
    return name if digits == name else f"the tokenizer.json whose SHA-256 begins with {digits}"


def check_vocabulary(name: str, needed: int, vocab_size: int) -> None:
    """Check that a model's vocabulary has room for a tokenizer's tokens.

    Raises:
        DataError: the model's vocabulary is smaller.
    """
    if needed > vocab_size:
        raise DataError(
            f"the {name} tokenizer has {needed} tokens, the model's vocabulary is {vocab_size}; "
            f"set --model.vocab-size {needed} or more"
        )
