"""How large a model's vocabulary must be for a tokenizer."""

from __future__ import annotations

from ngptlab.data.tokens.choose import tokenizer
from ngptlab.data.tokens.gpt2 import Gpt2Tokenizer

MULTIPLE = 64
"""Rows of an embedding come in these: kernels of GPUs are faster for it, and GPT-2's 50257 become the usual 50304."""


def padded_vocabulary(given: str, end_of_text: str = "") -> tuple[int, int]:
    """Tokens of the tokenizer of `data.tokenizer`, and the next multiple of 64.

    Raises:
        DataError: the name is unknown, or its file is of no use.
    """
    needed = Gpt2Tokenizer.vocab_size if given == "gpt2" else tokenizer(given, end_of_text).vocab_size
    return needed, -(-needed // MULTIPLE) * MULTIPLE
