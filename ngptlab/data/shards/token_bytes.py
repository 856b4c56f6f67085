"""How many bytes of text tokens stand for: the denominator of bits per byte, and the check of a manifest's counts.

The numbers are exact for `bytes`, for `gpt2`, and for files whose tokens are the bytes of the text. For other files they are
the bytes of the text that a token decodes to, alone and after another token. That is nearly right as long as tokens decode
independently of one another, and as the file changes no text before it cuts it into tokens (normalizers, unknown words).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ngptlab.data.shards.manifest import MADE_UP, Manifest
from ngptlab.data.tokens.file_tokenizer import FileTokenizer
from ngptlab.data.tokens.gpt2 import Gpt2Tokenizer, gpt2_lengths
from ngptlab.data.tokens.tokenizer import ByteTokenizer
from ngptlab.errors import DataError

I64 = npt.NDArray[np.int64]


class TokenBytes(NamedTuple):
    """UTF-8 bytes of the text that each token of a vocabulary stands for; 0 for the end of a text."""

    within_V: I64
    """Bytes of a token that follows another token of its document. Shape [V]."""
    first_V: I64
    """Bytes of a token that is its document's first: some decoders drop the space before it. Shape [V]."""
    end_of_text: int
    exact: bool
    """Whether the bytes of a document's tokens add up to the document's bytes, for any document."""

    def of(self, before: I64, tokens: I64) -> int:
        """Bytes of all `tokens`, given the token before each. Both of one shape, any.

        Raises:
            DataError: a token is outside the vocabulary.
        """
        if tokens.size and (largest := int(tokens.max())) >= len(self.within_V):
            raise DataError(f"token {largest} is outside the tokenizer's vocabulary of {len(self.within_V)}")
        return int(np.where(before == self.end_of_text, self.first_V[tokens], self.within_V[tokens]).sum())


def token_bytes(given: str, manifest: Manifest) -> TokenBytes:
    """Bytes of text of the tokens of a corpus. Needs no network.

    Args:
        given: the manifest's tokenizer, as `data.tokenizer`.

    Raises:
        DataError: the tokenizer's file can't be read, or lacks the manifest's end of text.
    """
    end, exact = manifest.end_of_text, True
    if manifest.source == MADE_UP:
        within_V = np.ones(manifest.vocab_size, dtype=np.int64)
        within_V[end] = 0
        first_V = within_V
    elif given == ByteTokenizer.name:
        within_V = first_V = ByteTokenizer().byte_lengths()
    elif given == Gpt2Tokenizer.name:
        within_V = first_V = gpt2_lengths()
    else:
        vocabulary = FileTokenizer(given, end)
        within_V, first_V = vocabulary.text_lengths()
        exact = vocabulary.of_bytes
    return TokenBytes(within_V, first_V, end, exact)
