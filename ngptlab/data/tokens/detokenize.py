"""Tokens to text as they come. The pieces of text, joined, are the text of all tokens."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol

from ngptlab.data.tokens.file_tokenizer import FileTokenizer
from ngptlab.data.tokens.tokenizer import Tokenizer, checked_tokens

REPLACEMENT = "\ufffd"


class Detokenizer(Protocol):
    """Turns the tokens after a prompt into pieces of text, which, joined, are what the tokens add to the prompt's text."""

    def add(self, token: int) -> str:
        """The text that is certain after this token, because no later token can change it, and was not given before.

        Raises:
            DataError: the token is outside the vocabulary.
        """
        ...

    def end(self) -> str:
        """The text that was held back."""
        ...


def detokenizer(vocabulary: Tokenizer, prompt: Sequence[int]) -> Detokenizer:
    """A detokenizer that begins after `prompt`. That has at least one token, because many decoders drop the first space.

    A token costs the same however long the text is. But where a tokenizer's decoder looks at the text as a whole, nothing is
    certain before the end, and all text comes then.
    """
    assert len(prompt), "a document begins with its end of text"
    if vocabulary.spelling == "bytes":
        return _Bytes(vocabulary, prompt)
    if vocabulary.spelling == "pieces":
        assert isinstance(vocabulary, FileTokenizer)
        return _Pieces(vocabulary, prompt)
    return _Whole(vocabulary, prompt)


class _Bytes:
    """Gives each character with its last byte."""

    def __init__(self, vocabulary: Tokenizer, prompt: Sequence[int]) -> None:
        self._bytes_of = vocabulary.bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in prompt:
            self._decoder.decode(self._bytes_of(token))
        self._prompt_is_cut = bool(self._decoder.getstate()[0])
        """Whether the prompt ends within a character, in whose place the prompt's text has a U+FFFD."""

    def add(self, token: int) -> str:
        return self._new(self._decoder.decode(self._bytes_of(token)))

    def end(self) -> str:
        return self._new(self._decoder.decode(b"", final=True))

    def _new(self, text: str) -> str:
        if text and self._prompt_is_cut:
            self._prompt_is_cut = False
            return text.removeprefix(REPLACEMENT)
        return text


class _Pieces:
    """Gives text by segments. A segment is one token, or all byte tokens in a row, because one wrong byte spoils the row.

    The text of a segment depends only on whether it is the first of all segments, which none is here, or the last. It is found
    by decoding the segment between two end-of-text tokens, or after one.
    """

    def __init__(self, vocabulary: FileTokenizer, prompt: Sequence[int]) -> None:
        self._vocabulary, self._end = vocabulary, [vocabulary.end_of_text]
        self._before = len(vocabulary.decode(self._end))
        self._after = len(vocabulary.decode(self._end * 2)) - self._before
        self._segment: list[int] = []
        for token in prompt:
            self._begin_or_extend(token)
        self._prompt_tokens = len(self._segment)
        """Number of the segment's tokens that belong to the prompt."""
        self._given_text = self._as_last(self._segment)
        """The part of the segment's text that was given."""

    def add(self, token: int) -> str:
        segment = self._segment
        if not self._begin_or_extend(token):
            return ""
        rest = self._rest(segment, self._as_inner)
        self._prompt_tokens, self._given_text = 0, ""
        if not self._vocabulary.is_byte(token):
            self._given_text = _common(self._as_inner(self._segment), self._as_last(self._segment))
        return rest + self._given_text

    def end(self) -> str:
        return self._rest(self._segment, self._as_last)

    def _begin_or_extend(self, token: int) -> bool:
        """Take a token; gives whether it begins a segment."""
        if not self._vocabulary.has_text(token):
            return False
        if self._segment and self._vocabulary.is_byte(token) and self._vocabulary.is_byte(self._segment[-1]):
            self._segment.append(token)
            return False
        self._segment = [token]
        return True

    def _rest(self, segment: Sequence[int], text_of: Callable[[Sequence[int]], str]) -> str:
        text = text_of(segment)
        if text.startswith(self._given_text):
            return text[len(self._given_text) :]
        # New bytes spoil the prompt's last bytes, whose text has been shown already.
        return text_of(segment[self._prompt_tokens :])

    def _as_inner(self, segment: Sequence[int]) -> str:
        text = self._vocabulary.decode([*self._end, *segment, *self._end])
        return text[self._before : len(text) - self._after]

    def _as_last(self, segment: Sequence[int]) -> str:
        return self._vocabulary.decode([*self._end, *segment])[self._before :]


def _common(a: str, b: str) -> str:
    """The longest beginning of both."""
    length = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:length]


class _Whole:
    """Gives all text at the end."""

    def __init__(self, vocabulary: Tokenizer, prompt: Sequence[int]) -> None:
        self._vocabulary, self._prompt = vocabulary, list(prompt)
        self._tokens: list[int] = []

    def add(self, token: int) -> str:
        self._tokens += checked_tokens([token], self._vocabulary)
        return ""

    def end(self) -> str:
        text, before = (
            self._vocabulary.decode(tokens) for tokens in (self._prompt + self._tokens, self._prompt)
        )
        # A token may change the prompt's text, which has been shown already.
        return text[len(before) :] if text.startswith(before) else self._vocabulary.decode(self._tokens)
