"""GPT-2's tokens, through tiktoken, and how many bytes each stands for, which needs no tiktoken."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ngptlab import disk
from ngptlab.data.tokens.decoders import Spelling
from ngptlab.data.tokens.tokenizer import END_OF_TEXT, Tokenizer, Tokens, checked_tokens
from ngptlab.errors import DataError
from ngptlab.folders import temporary

if TYPE_CHECKING:
    import tiktoken

FOLDERS = ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")
"""Variables that name tiktoken's folder, in its order."""
GPT2_LENGTHS = Path(__file__).with_name("gpt2_lengths.txt")
"""A character for each token of GPT-2: "1" for one byte, and so on in the order of Unicode."""


class Gpt2Tokenizer(Tokenizer):
    """The 50,257 byte-pair tokens of GPT-2, through tiktoken."""

    name = "gpt2"
    vocab_size = 50257
    end_of_text = 50256
    longest = 128
    """Bytes of the longest token."""
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
        """See `Tokenizer.encode_documents`; one call for all texts, because threads wait for the interpreter between calls.

        Raises:
            DataError: as for `encode`.
        """
        if any(END_OF_TEXT in text for text in texts):  # in a text, the marker is plain text
            return super().encode_documents(texts)
        # The end of a text and the marker after it form no further marker: its first character occurs in it only once.
        joined = "".join(END_OF_TEXT + text for text in texts)
        try:
            ids = self._encoding.encode_to_numpy(joined, allowed_special={END_OF_TEXT}, disallowed_special=())
        except ValueError:
            return super().encode_documents(texts)  # one text at a time, so that the error is about one text
        return ids.astype(np.uint16)

    def copy(self) -> Gpt2Tokenizer:
        """See `Tokenizer.copy`; the first thread to use an encoding's regular expression owns it, others take turns."""
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
        return self._encoding.decode_single_token_bytes(checked_tokens([token], self)[0])

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """See `Tokenizer.decode`."""
        return self._encoding.decode(checked_tokens(ids, self), errors="replace")


def gpt2_lengths() -> npt.NDArray[np.int64]:
    """`byte_lengths` of GPT-2's tokens, from a table of our own, because training on shards needs no vocabulary besides."""
    lengths = disk.read_text(GPT2_LENGTHS).replace("\n", "")
    return np.array([ord(letter) - ord("0") for letter in lengths] + [0])


def gpt2_encoding() -> tiktoken.Encoding:
    """GPT-2's vocabulary, which tiktoken fetches once.

    Raises:
        DataError: it is neither cached nor to be had from the network.
    """
    import tiktoken  # late: only this tokenizer needs it, and it loads an HTTP client

    _check_cache()
    try:
        return tiktoken.get_encoding("gpt2")
    except (OSError, ValueError) as error:
        # Errors of requests are OSErrors; a download with a wrong hash is a ValueError.
        folder = os.environ.get("TIKTOKEN_CACHE_DIR")
        state = f"TIKTOKEN_CACHE_DIR={folder} lacks it" if folder else "TIKTOKEN_CACHE_DIR is not set"
        raise DataError(
            f"gpt2: the vocabulary can't be fetched ({type(error).__name__}) and {state}; without a network, "
            "set TIKTOKEN_CACHE_DIR to a folder that tiktoken filled elsewhere; for text that is not tokenized yet, "
            "the tokenizer `bytes` needs none"
        ) from None


def is_cached() -> bool:
    """Whether tiktoken's folder has files, so that it need not ask the network."""
    folder = _folder()
    return folder is not None and folder.is_dir() and any(folder.iterdir())


def _folder() -> Path | None:
    """tiktoken's folder, as tiktoken chooses it; None where an empty name turns it off."""
    named = [os.environ[name] for name in FOLDERS if name in os.environ]
    if not named:
        return temporary() / "data-gym-cache"
    return Path(named[0]) if named[0] else None


def _check_cache() -> None:
    """Refuse files in tiktoken's folder that are not regular, or large: it would wait for a FIFO, and reads whole files."""
    folder = _folder()
    for file in folder.glob("*") if folder else ():
        try:
            if not file.is_dir():
                disk.check_regular(file)
                if (size := file.stat().st_size) > disk.RECORD_BYTES:
                    raise OSError(errno.EFBIG, f"has {size} bytes, which no vocabulary has")
        except OSError as error:
            raise DataError(f"{file}: {error.strerror}; tiktoken would read it, so remove it") from None
