"""The protocol of tokenizers, and the tokenizer of bytes. Tokens have the dtype in which shards store them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ngptlab.data.tokens.decoders import Spelling
from ngptlab.errors import DataError

Tokens = npt.NDArray[np.unsignedinteger]
END_OF_TEXT = "<|endoftext|>"


def token_dtype(vocab_size: int) -> np.dtype[np.unsignedinteger]:
    """The dtype in which the tokens of a vocabulary are stored: 16 bits where they fit, else 32."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


class Tokenizer(Protocol):
    """A fixed vocabulary. `encode` never gives `end_of_text`; for `bytes` and `gpt2`, `decode(encode(text)) == text`."""

    name: str
    """Name in manifests: `bytes`, `gpt2`, or `tokenizers:` and the beginning of a file's digest."""
    vocab_size: int
    """Number of tokens, `end_of_text` included; a model's vocabulary may be larger (padding)."""
    end_of_text: int
    """The token that stands before every document."""

    @property
    def spelling(self) -> Spelling:
        """What a token's text depends on; detokenize.py streams text by it."""
        return "whole"

    def encode(self, text: str) -> Tokens:
        """Tokens of a text; markers in it, such as `<|endoftext|>`, are plain text."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> Tokens:
        """Tokens of one or more texts in one array, with `end_of_text` before each text."""
        before = np.array([self.end_of_text], dtype=token_dtype(self.vocab_size))
        return np.concatenate([piece for text in texts for piece in (before, self.encode(text))])

    def copy(self) -> Tokenizer:
        """The same tokenizer for another thread, so that the two needn't wait for one another."""
        return self

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """UTF-8 bytes that each token stands for; 0 for `end_of_text`. Shape [V]."""
        ...

    def bytes_of(self, token: int) -> bytes:
        """Bytes that a token stands for, where `spelling` is `bytes`; the marker for `end_of_text`.

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
        (byte,) = checked_tokens([token], self)
        return END_OF_TEXT.encode() if byte == self.end_of_text else bytes((byte,))

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """See `Tokenizer.decode`."""
        return b"".join(self.bytes_of(i) for i in checked_tokens(ids, self)).decode("utf-8", "replace")


def checked_tokens(ids: Sequence[int] | npt.NDArray[np.integer], vocabulary: Tokenizer) -> list[int]:
    """The tokens as numbers, each of them in the vocabulary.

    Raises:
        DataError: a token is outside the vocabulary.
    """
    tokens = [int(i) for i in ids]
    outside = [i for i in tokens if not 0 <= i < vocabulary.vocab_size]
    if outside:
        raise DataError(
            f"token {outside[0]} is outside the {vocabulary.name} vocabulary of {vocabulary.vocab_size}; "
            "was the model trained with another tokenizer, or is it a padding token of a larger vocabulary?"
        )
    return tokens
