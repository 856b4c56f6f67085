"""Tokens to text as they come: a character is given once all of its bytes are there."""

from __future__ import annotations

from ngptlab.data.tokenize import Tokenizer

REPLACEMENT = "\ufffd"
LONGEST = 3
"""Bytes of a character that may be there while its last one is missing; each may be shown as a U+FFFD."""


class Detokenizer:
    """The pieces that it gives, joined, are the text of all tokens.

    Works with any tokenizer, those that spell a token by its neighbours included: what is new is what a token adds to
    the text of those shortly before it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._before: list[int] = []
        self._pending: list[int] = []
        self._given = 0

    def add(self, token: int) -> str:
        """What the token adds to the text, as far as no later token can change it."""
        self._pending.append(token)
        text = self._new_text()
        whole = text.rstrip(REPLACEMENT)
        if len(whole) == len(text):
            piece = text[self._given :]
            self._before, self._pending, self._given = self._pending, [], 0
            return piece
        # It ends in bytes that are no character, or none yet.
        sure = max(len(whole), len(text) - LONGEST, self._given)
        piece, self._given = text[self._given : sure], sure
        return piece

    def end(self) -> str:
        """What was held back."""
        piece = self._new_text()[self._given :]
        self._before, self._pending, self._given = [], [], 0
        return piece

    def _new_text(self) -> str:
        before = self._tokenizer.decode(self._before)
        return self._tokenizer.decode(self._before + self._pending)[len(before) :]
