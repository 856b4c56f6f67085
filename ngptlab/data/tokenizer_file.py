"""A tokenizer of the user's own: a `tokenizer.json` of the `tokenizers` library, known by its digest."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ngptlab.data.decoders import BYTE_TOKEN, Spelling, byte_letters, spelling
from ngptlab.data.tokenize import FILE_NAME, Tokenizer, Tokens, checked
from ngptlab.errors import DataError

if TYPE_CHECKING:
    import tokenizers

NAME_DIGITS = 16
KNOWN_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]")
OFF = ("padding", "truncation", "post_processor")
"""Fields of a file that cut a text or put tokens around it; `encode` goes without them."""
LETTERS = {letter: byte for byte, letter in enumerate(byte_letters())}
MOST_TOKENS = 2**16  # what a shard's 16 bits can tell apart


class FileTokenizer(Tokenizer):
    """A tokenizer as a file describes it.

    What its normalizer or its unknown token lose is lost: `decode(encode(text)) == text` holds where it holds for the
    file. Markers in a text are plain text, padding, truncation and the file's own begin and end tokens are off.

    Raises:
        DataError: the file can't be read, its tokens don't fit 16 bits, or no end-of-text token is found in it.
    """

    def __init__(self, file: str, end_of_text: str = "") -> None:
        raw = _read(file)
        self.name = _name(raw)
        self._tokenizer = _parse(raw, file)
        self._fields: dict[str, Any] = json.loads(raw)
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values()) + 1  # numbers may have gaps
        if self.vocab_size > MOST_TOKENS:
            raise DataError(
                f"{file}: has tokens up to {self.vocab_size - 1}, a shard's are 0..{MOST_TOKENS - 1}; "
                "give a tokenizer with a smaller vocabulary"
            )
        self.marker = _find_end(vocabulary, end_of_text, file)
        """How `end_of_text` is written."""
        self.end_of_text = vocabulary[self.marker]

    def encode(self, text: str) -> Tokens:
        """Tokens of a text, none of them `end_of_text`.

        Raises:
            DataError: the tokenizer takes a part of the text for its end-of-text token, whatever is done.
        """
        ids = self._ids(text)
        if not (ids == self.end_of_text).any():
            return ids
        # Some vocabularies hold the marker as an ordinary piece of text. Cut inside, it is none.
        first, rest = self.marker[:1], self.marker[1:]
        parts = text.split(self.marker)
        pieces = [parts[0] + first, *(rest + part + first for part in parts[1:-1]), rest + parts[-1]]
        ids = np.concatenate([self._ids(piece) for piece in pieces]) if len(parts) > 1 else ids
        if (ids == self.end_of_text).any():
            raise DataError(
                f"{self.name}: takes a part of a text for its end-of-text token {self.marker!r} (the text begins with "
                f"{text[:40]!r}); name another token with --end-of-text, or drop the text"
            )
        return ids

    def encode_documents(self, texts: Sequence[str]) -> Tokens:
        """See `Tokenizer.encode_documents`; one call for them all, for between calls threads wait for the interpreter.

        Raises:
            DataError: as for `encode`.
        """
        before = np.array([self.end_of_text], dtype=np.uint16)
        pieces = []
        for text, ids in zip(texts, self._all_ids(texts), strict=True):
            pieces += [before, self.encode(text) if (ids == self.end_of_text).any() else ids]
        return np.concatenate(pieces)

    def copy(self) -> FileTokenizer:
        """See `Tokenizer.copy`; the library's own cache of words is not asked while another thread is at it."""
        other = copy.copy(self)
        other._tokenizer = _parse(json.dumps(self._fields).encode(), self.name)
        return other

    def text(self) -> str:
        """The file less what is off here: another reader's default gives the same tokens."""
        return json.dumps(self._fields | dict.fromkeys(OFF), ensure_ascii=False) + "\n"

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """See `Tokenizer.byte_lengths`.

        Raises:
            DataError: the tokens are not of bytes, so a token stands for no certain number of them.
        """
        if not _of_bytes(self._fields):
            raise DataError(
                f"{self.name}: its tokens stand for no certain number of bytes, so shards without a manifest can't be "
                "measured in bytes; make them with `ngptlab data prepare`, or give a byte-level tokenizer"
            )
        added = self._tokenizer.get_added_tokens_decoder()
        lengths = np.zeros(self.vocab_size, dtype=np.int64)
        for token, number in self._tokenizer.get_vocab(with_added_tokens=True).items():
            # A byte-level token is written with one character a byte; an added token is written as it is.
            lengths[number] = len(token.encode()) if number in added else len(token)
        lengths[self.end_of_text] = 0
        return lengths

    @functools.cached_property
    def spelling(self) -> Spelling:
        """See `Tokenizer.spelling`."""
        found = spelling(self._fields.get("decoder"), self.marker)
        if found != "pieces":
            return found
        one, two, three = (self.decode([self.end_of_text] * count) for count in (1, 2, 3))
        # Texts are told by what is between ends of text, which must be the same wherever one stands.
        even = one and two.startswith(one) and three == two + two[len(one) :]
        return "pieces" if even and not self.is_byte(self.end_of_text) else "whole"

    def bytes_of(self, token: int) -> bytes:
        """See `Tokenizer.bytes_of`; none for a number without a token."""
        (number,) = checked([token], self)
        piece = self._tokenizer.id_to_token(number) or ""
        if any(letter not in LETTERS for letter in piece):
            return piece.encode()  # an added token, written as it is
        return bytes(LETTERS[letter] for letter in piece)

    def has_text(self, token: int) -> bool:
        """Whether the vocabulary has a token of this number; `decode` passes over the others.

        Raises:
            DataError: it is outside the vocabulary.
        """
        return self._tokenizer.id_to_token(*checked([token], self)) is not None

    def is_byte(self, token: int) -> bool:
        """Whether the token is written as a byte, as in `<0xE4>`."""
        return bool(BYTE_TOKEN.fullmatch(self._tokenizer.id_to_token(token) or ""))

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """See `Tokenizer.decode`; `end_of_text` becomes its own marker.

        Raises:
            DataError: as `Tokenizer.decode`, or the library breaks down on the tokens.
        """
        tokens = checked(ids, self)
        try:
            return self._tokenizer.decode(tokens, skip_special_tokens=False)
        except BaseException as error:
            # A panic of Rust is no `Exception`, and its class can't be imported.
            if type(error).__name__ != "PanicException":
                raise
            raise DataError(
                f"{self.name}: the tokenizers library can't decode these tokens ({error}); mend the file's decoder"
            ) from None

    def _ids(self, text: str) -> Tokens:
        return self._all_ids([text])[0]

    def _all_ids(self, texts: Sequence[str]) -> list[Tokens]:
        # The `fast` call leaves out each token's place in the text, which nobody asks for here.
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.uint16) for encoding in encodings]


def file_name(file: str) -> str:
    """The name of a tokenizer file: the same wherever the file lies, another whenever its content is another.

    Raises:
        DataError: the file can't be read.
    """
    return _name(_read(file))


def _name(raw: bytes) -> str:
    return FILE_NAME + hashlib.sha256(raw).hexdigest()[:NAME_DIGITS]


def _read(file: str) -> bytes:
    try:
        return Path(os.path.expanduser(file)).read_bytes()
    except OSError as error:
        raise DataError(
            f"data.tokenizer {file}: can't be read ({error.strerror}); give bytes, gpt2, or the path of a tokenizer.json"
        ) from None


def _parse(raw: bytes, file: str) -> tokenizers.Tokenizer:
    import tokenizers  # late: only such files need it

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # how many threads there are is up to --workers
    try:
        tokenizer = tokenizers.Tokenizer.from_str(raw.decode("utf-8-sig"))
    except Exception as error:  # the library raises nothing more special
        why = " ".join(str(error).split())
        raise DataError(
            f"data.tokenizer {file}: is no file of the tokenizers library ({why}); give a tokenizer.json"
        ) from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a marker in a text is text
    return tokenizer


def _find_end(vocabulary: dict[str, int], given: str, file: str) -> str:
    if given:
        if given not in vocabulary:
            raise DataError(f"{file}: has no token {given!r}; give another end-of-text token")
        return given
    found = [token for token in KNOWN_ENDS if token in vocabulary]
    if len(found) != 1:
        those = (
            f"several end-of-text tokens ({', '.join(found)})"
            if found
            else "no end-of-text token that is known"
        )
        raise DataError(
            f"{file}: has {those}; name one with --data.end-of-text (of `data prepare`: --end-of-text), e.g. {KNOWN_ENDS[0]}"
        )
    return found[0]


def _of_bytes(fields: dict[str, Any]) -> bool:
    """Whether tokens are made of bytes, and of exactly those of the text."""
    decoder = fields.get("decoder") or {}
    adds_space = '"add_prefix_space": true' in json.dumps(fields.get("pre_tokenizer"))
    return decoder.get("type") == "ByteLevel" and not fields.get("normalizer") and not adds_space
