"""Text to tokens and back. Tokens are as wide as shards store them. file_tokenizer.py has those of the user's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from ngptlab import disk
from ngptlab.data.shards.format import token_dtype
from ngptlab.data.tokens.decoders import Spelling
from ngptlab.errors import DataError, nearest

if TYPE_CHECKING:
    import tiktoken

Tokens = npt.NDArray[np.unsignedinteger]
END_OF_TEXT = "<|endoftext|>"
FILE_SUFFIX = ".json"
GPT2_LENGTHS = Path(__file__).with_name("gpt2_lengths.txt")
"""A character for each token of GPT-2: "1" for one byte, and so on in the order of Unicode."""
FILE_NAME = "tokenizers:"
"""Begins the name of a file's tokenizer in manifests."""
UNKNOWN = "unknown"
"""As `data.tokenizer`: that of a model imported without one."""


class Tokenizer(Protocol):
    """A fixed vocabulary. `encode` never gives `end_of_text`; for `bytes` and `gpt2`, `decode(encode(text)) == text`."""

    name: str
    """As manifests have it: `bytes`, `gpt2`, or `tokenizers:` and the beginning of a file's digest."""
    vocab_size: int
    """Number of tokens, `end_of_text` included; a model's may be larger (padding)."""
    end_of_text: int
    """The token that stands before every document."""

    @property
    def spelling(self) -> Spelling:
        """What a token's text depends on; detokenize.py streams text by it."""
        return "whole"

    def encode(self, text: str) -> Tokens:
        """Tokens of a text; control strings in it are plain text."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> Tokens:
        """Tokens of several texts, one at least, end after end, `end_of_text` before each."""
        before = np.array([self.end_of_text], dtype=token_dtype(self.vocab_size))
        return np.concatenate([piece for text in texts for piece in (before, self.encode(text))])

    def copy(self) -> Tokenizer:
        """The same tokenizer for another thread, which needn't wait for this one."""
        return self

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """UTF-8 bytes that each token stands for; 0 for `end_of_text`. Shape [V]."""
        ...

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for, where `spelling` is `bytes`; the marker for `end_of_text`.

        Raises:
            DataError: the token is outside the vocabulary.
        """
        raise NotImplementedError

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """Text of tokens; bytes that are no UTF-8 become U+FFFD, `end_of_text` becomes `<|endoftext|>`.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        ...


class ByteTokenizer(Tokenizer):
    """The 256 byte values of UTF-8, then `end_of_text`."""

    name = "bytes"
    vocab_size = 257
    end_of_text = 256
    spelling: Spelling = "bytes"

    def encode(self, text: str) -> Tokens:
        """One token a byte."""
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint16)

    def pieces(self) -> list[bytes]:
        """The bytes that each token stands for, all but `end_of_text`, which is the last."""
        return [bytes((i,)) for i in range(256)]

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """See `Tokenizer.byte_lengths`."""
        return np.array([1] * 256 + [0])

    def bytes_of(self, token: int) -> bytes:
        """See `Tokenizer.bytes_of`."""
        (byte,) = checked([token], self)
        return END_OF_TEXT.encode() if byte == self.end_of_text else bytes((byte,))

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """See `Tokenizer.decode`."""
        return b"".join(self.bytes_of(i) for i in checked(ids, self)).decode("utf-8", "replace")


class Gpt2Tokenizer(Tokenizer):
    """The 50,257 byte-pair tokens of GPT-2, through tiktoken."""

    name = "gpt2"
    vocab_size = 50257
    end_of_text = 50256
    longest = 128
    """Most bytes of a token."""
    spelling: Spelling = "bytes"

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding

    def encode(self, text: str) -> Tokens:
        """Byte-pair tokens; `<|endoftext|>` in the text is encoded as text.

        Raises:
            DataError: a run of blanks in the text is too long for tiktoken, a million or so.
        """
        try:
            # The tokens of `encode_ordinary`, without a Python number for each.
            return self._encoding.encode_to_numpy(text, disallowed_special=()).astype(np.uint16)
        except ValueError as error:
            raise DataError(
                f"gpt2: tiktoken can't take a text of {len(text):,} characters ({error}), as with a run of a million "
                "blanks; shorten such runs, or drop the text"
            ) from None

    def encode_documents(self, texts: Sequence[str]) -> Tokens:
        """See `Tokenizer.encode_documents`; one call for them all, for between calls threads wait for the interpreter.

        Raises:
            DataError: as for `encode`.
        """
        if any(END_OF_TEXT in text for text in texts):  # there it is text
            return super().encode_documents(texts)
        # No end of a text makes another marker with the marker after it: its first character is nowhere else in it.
        joined = "".join(END_OF_TEXT + text for text in texts)
        try:
            ids = self._encoding.encode_to_numpy(joined, allowed_special={END_OF_TEXT}, disallowed_special=())
        except ValueError:
            return super().encode_documents(texts)  # which tells the text
        return ids.astype(np.uint16)

    def copy(self) -> Gpt2Tokenizer:
        """See `Tokenizer.copy`; the first thread to use an encoding's regular expression has it, others take turns."""
        import tiktoken

        mine = self._encoding
        return Gpt2Tokenizer(
            tiktoken.Encoding(
                mine.name,
                pat_str=mine._pat_str,
                mergeable_ranks=mine._mergeable_ranks,
                special_tokens=mine._special_tokens,
            )
        )

    def pieces(self) -> list[bytes]:
        """See `ByteTokenizer.pieces`; a token's number is also its rank among the merges."""
        return [self._encoding.decode_single_token_bytes(i) for i in range(self.end_of_text)]

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """See `Tokenizer.byte_lengths`."""
        return gpt2_lengths()

    def bytes_of(self, token: int) -> bytes:
        """See `Tokenizer.bytes_of`."""
        return self._encoding.decode_single_token_bytes(checked([token], self)[0])

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """See `Tokenizer.decode`."""
        return self._encoding.decode(checked(ids, self), errors="replace")


def gpt2_lengths() -> npt.NDArray[np.int64]:
    """`byte_lengths` of GPT-2's tokens, from a table of our own: training on shards needs no vocabulary otherwise."""
    lengths = disk.read_text(GPT2_LENGTHS).replace("\n", "")
    return np.array([ord(letter) - ord("0") for letter in lengths] + [0])


def tokenizer(given: str, end_of_text: str = "") -> Tokenizer:
    """The tokenizer of `data.tokenizer`: `bytes`; `gpt2`, whose vocabulary tiktoken fetches once; or a `.json` file.

    Args:
        end_of_text: the token of a file that stands before documents; empty: a known one is looked for.

    Raises:
        DataError: the name is unknown, the file is of no use, or the vocabulary is neither cached nor to be had from
            the network.
    """
    if given.endswith(FILE_SUFFIX):
        from ngptlab.data.tokens.file_tokenizer import FileTokenizer  # it builds on this file

        return FileTokenizer(given, end_of_text)
    if given == "bytes":
        return ByteTokenizer()
    if given == "gpt2":
        return Gpt2Tokenizer(_gpt2_encoding())
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
    from ngptlab.data.tokens.file_tokenizer import file_name

    return file_name(given)


def given_as(name: str) -> str:
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


def _gpt2_encoding() -> tiktoken.Encoding:
    import tiktoken  # late: only this tokenizer needs it, and it loads an HTTP client

    _check_cache()
    try:
        return tiktoken.get_encoding("gpt2")
    except (
        OSError,
        ValueError,
    ) as error:  # requests' errors are OSErrors; a download with a wrong hash is a ValueError
        folder = os.environ.get("TIKTOKEN_CACHE_DIR")
        state = f"TIKTOKEN_CACHE_DIR={folder} lacks it" if folder else "TIKTOKEN_CACHE_DIR is not set"
        raise DataError(
            f"gpt2: the vocabulary can't be fetched ({type(error).__name__}) and {state}; without a network, "
            "set TIKTOKEN_CACHE_DIR to a folder that tiktoken filled elsewhere; for text that is not tokenized yet, "
            "the tokenizer `bytes` needs none"
        ) from None


def _check_cache() -> None:
    """What tiktoken finds in its folder it reads as a whole, and waits for a FIFO for ever."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    for file in Path(folder).glob("*") if folder else ():
        try:
            if not file.is_dir():
                disk.check_regular(file)
        except OSError as error:
            raise DataError(f"{file}: {error.strerror}; tiktoken would read it, so remove it") from None


def checked(ids: Sequence[int] | npt.NDArray[np.integer], vocabulary: Tokenizer) -> list[int]:
    """The tokens as numbers, each of them in the vocabulary.

    Raises:
        DataError: one is not.
    """
    tokens = [int(i) for i in ids]
    outside = [i for i in tokens if not 0 <= i < vocabulary.vocab_size]
    if outside:
        raise DataError(
            f"token {outside[0]} is outside the {vocabulary.name} vocabulary of {vocabulary.vocab_size}; "
            "was the model trained with another tokenizer, or is it a padding token of a larger vocabulary?"
        )
    return tokens
