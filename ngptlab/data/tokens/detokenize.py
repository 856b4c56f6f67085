"""Tokens to text as they come: what is given, joined, is the text of all tokens."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol

from ngptlab.data.tokens.file_tokenizer import FileTokenizer
from ngptlab.data.tokens.tokenizer import Tokenizer, checked_tokens

REPLACEMENT = "\ufffd"


class Detokenizer(Protocol):
    """The text of tokens after a prompt. The pieces that it gives, joined, are what they add to the prompt's own text."""

    def add(self, token: int) -> str:
        """What the token adds to the text, as far as no later token can change it.

        Raises:
            DataError: the token is outside the vocabulary.
        """
        ...

    def end(self) -> str:
        """What was held back."""
        ...


def detokenizer(vocabulary: Tokenizer, prompt: Sequence[int]) -> Detokenizer:
    """One that begins after `prompt`, at least one token: many a decoder drops a space before the very first.

    A token costs the same however long the text is. Only where a tokenizer's decoder looks at the text as a whole, nothing
    is sure before the end, and all of it comes then.
    """
    assert len(prompt), "a document begins with its end of text"
    if vocabulary.spelling == "bytes":
        return _Bytes(vocabulary, prompt)
    if vocabulary.spelling == "pieces":
        assert isinstance(vocabulary, FileTokenizer)
        return _Pieces(vocabulary, prompt)
    return _Whole(vocabulary, prompt)


class _Bytes:
    """A character is given with its last byte."""

    def __init__(self, vocabulary: Tokenizer, prompt: Sequence[int]) -> None:
        self._bytes_of = vocabulary.bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in prompt:
            self._decoder.decode(self._bytes_of(token))
        self._shown = bool(self._decoder.getstate()[0])
        """Whether the prompt ends within a character, for which its text has a U+FFFD."""

    def add(self, token: int) -> str:
        return self._new(self._decoder.decode(self._bytes_of(token)))

    def end(self) -> str:
        return self._new(self._decoder.decode(b"", final=True))

    def _new(self, text: str) -> str:
        if text and self._shown:
            self._shown = False
            return text.removeprefix(REPLACEMENT)
        return text


class _Pieces:
    """The text is one of segments: a token, or all byte tokens in a row, because one that fits not spoils them all.

    A segment's text depends on nothing but whether it is the first of all, which none is here, or the last. It is told by
    decoding it between two ends of text, or after one.
    """

    def __init__(self, vocabulary: FileTokenizer, prompt: Sequence[int]) -> None:
        self._vocabulary, self._end = vocabulary, [vocabulary.end_of_text]
        self._before = len(vocabulary.decode(self._end))
        self._after = len(vocabulary.decode(self._end * 2)) - self._before
        self._segment: list[int] = []
        for token in prompt:
            self._begin_or_extend(token)
        self._of_prompt = len(self._segment)
        """Tokens of the segment that are the prompt's."""
        self._given = self._as_last(self._segment)
        """Of the segment's text."""

    def add(self, token: int) -> str:
        held = self._segment
        if not self._begin_or_extend(token):
            return ""
        rest = self._rest(held, self._as_inner)
        self._of_prompt, self._given = 0, ""
        if not self._vocabulary.is_byte(token):
            self._given = _common(self._as_inner(self._segment), self._as_last(self._segment))
        return rest + self._given

    def end(self) -> str:
        return self._rest(self._segment, self._as_last)

    def _begin_or_extend(self, token: int) -> bool:
        """Whether it begins a segment."""
        if not self._vocabulary.has_text(token):
            return False
        if self._segment and self._vocabulary.is_byte(token) and self._vocabulary.is_byte(self._segment[-1]):
            self._segment.append(token)
            return False
        self._segment = [token]
        return True

    def _rest(self, segment: Sequence[int], text_of: Callable[[Sequence[int]], str]) -> str:
        text = text_of(segment)
        if text.startswith(self._given):
            return text[len(self._given) :]
        # Bytes spoil the prompt's last ones, which are on the page already.
        return text_of(segment[self._of_prompt :])

    def _as_inner(self, segment: Sequence[int]) -> str:
        text = self._vocabulary.decode([*self._end, *segment, *self._end])
        return text[self._before : len(text) - self._after]

    def _as_last(self, segment: Sequence[int]) -> str:
        return self._vocabulary.decode([*self._end, *segment])[self._before :]


def _common(a: str, b: str) -> str:
    """What both begin with."""
    length = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:length]


class _Whole:
    """All text comes at the end."""

    def __init__(self, vocabulary: Tokenizer, prompt: Sequence[int]) -> None:
        self._vocabulary, self._prompt = vocabulary, list(prompt)
        self._tokens: list[int] = []

    def add(self, token: int) -> str:
        self._tokens += checked_tokens([token], self._vocabulary)
        return ""

    def end(self) -> str:
        text, known = (
            self._vocabulary.decode(tokens) for tokens in (self._prompt + self._tokens, self._prompt)
        )
        # A token may change the prompt's text, which is on the page already.
        return text[len(known) :] if text.startswith(known) else self._vocabulary.decode(self._tokens)
