"""A tokenizer of the user's own: a `tokenizer.json` of the `tokenizers` library, known by its digest."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ngptlab import disk
from ngptlab.data.tokens.decoders import BYTE_TOKEN, Spelling, byte_letters, spelling
from ngptlab.data.tokens.text_growth import check_growth
from ngptlab.data.tokens.tokenizer import Tokenizer, Tokens, checked_tokens, token_dtype
from ngptlab.errors import DataError, shown

if TYPE_CHECKING:
    import tokenizers

FILE_NAME = "tokenizers:"
"""Prefix of a file tokenizer's name in manifests."""
NAME_DIGITS = 16
NO_FILE = "is no file of the tokenizers library"
FILE_BYTES = 256 << 20  # the largest files in use have 40 million bytes
KNOWN_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]")
BYTE_STEPS = {"ByteLevel", "Sequence", "Split", "Digits", "Punctuation"}
"""Steps before the text is cut into tokens that leave every byte where it is."""
OFF = ("padding", "truncation", "post_processor")
"""Fields of a file that cut a text or put tokens around it; `encode` ignores them."""
LETTERS = {letter: byte for byte, letter in enumerate(byte_letters())}
MOST_TOKENS = 2**24
"""Largest vocabulary. Tables take 8 bytes for each token; the largest published vocabularies have a million tokens."""


class FileTokenizer(Tokenizer):
    """A tokenizer as a file describes it.

    `decode(encode(text)) == text` holds as far as the file's normalizer and unknown token lose nothing. Markers in a text are
    plain text. Padding, truncation and the file's own begin and end tokens are off.

    Raises:
        DataError: the file can't be read, or may make a text many times as long; its vocabulary is empty, too large, or lacks
            the token for unknown words; no end-of-text token is found in it.
    """

    def __init__(self, file: str, end_of_text: str | int = "") -> None:
        raw = _read(file)
        self.name = _name(raw)
        self._fields = _fields(raw, file)
        check_growth(self._fields, file)
        self._tokenizer = _parse(raw, file)
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        _check_unknown(self._tokenizer.get_vocab(with_added_tokens=False), self._fields, file)
        self.vocab_size = max(vocabulary.values()) + 1  # numbers may have gaps
        if self.vocab_size > MOST_TOKENS:
            raise DataError(
                f"{file}: has tokens up to {self.vocab_size - 1}, allowed are 0..{MOST_TOKENS - 1}; "
                "give a tokenizer with a smaller vocabulary"
            )
        self.marker = _find_end(vocabulary, end_of_text, file)
        """How `end_of_text` is written."""
        self.end_of_text = vocabulary[self.marker]
        self.of_bytes = _of_bytes(self._fields, vocabulary)
        """Whether tokens stand for bytes, and the tokens of a text for exactly its bytes."""

    def encode(self, text: str) -> Tokens:
        """Tokens of a text, none of them `end_of_text`.

        Raises:
            DataError: the tokenizer takes a part of the text for its end-of-text token, however the text is cut.
        """
        ids = self._ids(text)
        if not (ids == self.end_of_text).any():
            return ids
        # Some vocabularies hold the marker as an ordinary piece of text. So the text is cut inside each marker.
        first, rest = self.marker[:1], self.marker[1:]
        parts = text.split(self.marker)
        pieces = [parts[0] + first, *(rest + part + first for part in parts[1:-1]), rest + parts[-1]]
        ids = np.concatenate([self._ids(piece) for piece in pieces]) if len(parts) > 1 else ids
        if (ids == self.end_of_text).any():
            raise DataError(
                f"{self.name}: takes a part of a text of {len(text):,} characters for its end-of-text token "
                f"{shown(self.marker)}; name another token with --end-of-text, or drop the text"
            )
        return ids

    def encode_documents(self, texts: Sequence[str]) -> Tokens:
        """See `Tokenizer.encode_documents`; one call for all texts, because threads wait for the interpreter between calls.

        Raises:
            DataError: as for `encode`.
        """
        before = np.array([self.end_of_text], dtype=token_dtype(self.vocab_size))
        pieces = []
        for text, ids in zip(texts, self._all_ids(texts), strict=True):
            pieces += [before, self.encode(text) if (ids == self.end_of_text).any() else ids]
        return np.concatenate(pieces)

    def copy(self) -> FileTokenizer:
        """See `Tokenizer.copy`; the library does without its cache of words while another thread uses it."""
        other = copy.copy(self)
        other._tokenizer = _parse(json.dumps(self._fields).encode(), self.name)
        return other

    def text(self) -> str:
        """The file without the fields in `OFF`, so that another reader gets the same tokens by default."""
        return json.dumps(self._fields | dict.fromkeys(OFF), ensure_ascii=False) + "\n"

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """See `Tokenizer.byte_lengths`.

        Raises:
            DataError: the tokens don't stand for bytes, so a token has no fixed number of bytes.
        """
        if not self.of_bytes:
            raise DataError(
                f"{self.name}: its tokens stand for no fixed number of bytes, so shards without a manifest can't be "
                "measured in bytes; make them with `ngptlab data prepare`, or give a byte-level tokenizer"
            )
        return self.text_lengths()[0]

    def text_lengths(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """UTF-8 bytes of the text that each token decodes to: after another token, and as the first of a document.

        0 for `end_of_text`. Shape [V] each. Tokens are decoded one by one; shards/token_bytes.py says where that is exact.
        """
        if _decoder_kinds(self._fields) & {"ByteLevel"}:
            within_V = first_V = self._byte_level_lengths()
        else:
            within_V, first_V = self._decoded_lengths()
        within_V[self.end_of_text] = first_V[self.end_of_text] = 0
        return within_V, first_V

    def _byte_level_lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of byte-level tokens. They are written with one character for each byte, an added token as it is."""
        added = self._tokenizer.get_added_tokens_decoder()
        lengths_V = np.zeros(self.vocab_size, dtype=np.int64)
        for token, number in self._tokenizer.get_vocab(with_added_tokens=True).items():
            lengths_V[number] = len(token.encode()) if number in added else len(token)
        return lengths_V

    def _decoded_lengths(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Bytes of other tokens: of the text that a second copy of the token adds, and of the text of one alone."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        numbers = sorted(vocabulary.values())
        once, twice = (
            self._tokenizer.decode_batch([[number] * times for number in numbers], skip_special_tokens=False)
            for times in (1, 2)
        )
        first_V, within_V = (np.zeros(self.vocab_size, dtype=np.int64) for _ in range(2))
        first_V[numbers] = [len(text.encode()) for text in once]
        within_V[numbers] = [len(text.encode()) for text in twice]
        within_V -= first_V
        if "ByteFallback" in _decoder_kinds(self._fields):  # a part of a character decodes to U+FFFD
            parts = [number for token, number in vocabulary.items() if BYTE_TOKEN.fullmatch(token)]
            first_V[parts] = within_V[parts] = 1
        return within_V, first_V

    @functools.cached_property
    def spelling(self) -> Spelling:
        """See `Tokenizer.spelling`."""
        by_decoder = spelling(self._fields.get("decoder"), self.marker)
        if by_decoder != "pieces":
            return by_decoder
        one, two, three = (self.decode([self.end_of_text] * count) for count in (1, 2, 3))
        # Texts are cut out from between two end-of-text tokens, whose own texts must be the same wherever they stand.
        same = one and two.startswith(one) and three == two + two[len(one) :]
        return "pieces" if same and not self.is_byte(self.end_of_text) else "whole"

    def bytes_of(self, token: int) -> bytes:
        """See `Tokenizer.bytes_of`; no bytes for a number without a token."""
        (number,) = checked_tokens([token], self)
        piece = self._tokenizer.id_to_token(number) or ""
        if any(letter not in LETTERS for letter in piece):
            return piece.encode()  # an added token, written as it is
        return bytes(LETTERS[letter] for letter in piece)

    def has_text(self, token: int) -> bool:
        """Whether the vocabulary has a token of this number; `decode` passes over the others.

        Raises:
            DataError: it is outside the vocabulary.
        """
        return self._tokenizer.id_to_token(*checked_tokens([token], self)) is not None

    def is_byte(self, token: int) -> bool:
        """Whether the token is written as a byte, as in `<0xE4>`."""
        return bool(BYTE_TOKEN.fullmatch(self._tokenizer.id_to_token(token) or ""))

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """See `Tokenizer.decode`; `end_of_text` becomes its own marker.

        Raises:
            DataError: as `Tokenizer.decode`, or the library fails on the tokens.
        """
        tokens = checked_tokens(ids, self)
        with _explaining(f"{self.name}: can't decode {len(tokens)} tokens", "; mend the file's decoder"):
            return self._tokenizer.decode(tokens, skip_special_tokens=False)

    def _ids(self, text: str) -> Tokens:
        return self._all_ids([text])[0]

    def _all_ids(self, texts: Sequence[str]) -> list[Tokens]:
        # The `fast` call leaves out each token's place in the text, which is not needed here.
        size = sum(map(len, texts))
        with _explaining(f"{self.name}: can't encode a text of {size:,} characters"):
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        dtype = token_dtype(self.vocab_size)
        return [np.array(encoding.ids, dtype=dtype) for encoding in encodings]


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
        return disk.read_bytes(Path(os.path.expanduser(file)), limit=FILE_BYTES)
    except OSError as error:
        raise DataError(
            f"data.tokenizer {file}: can't be read ({error.strerror}); give bytes, gpt2, or the path of a tokenizer.json"
        ) from None


def _fields(raw: bytes, file: str) -> dict[str, Any]:
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"data.tokenizer {file}: {NO_FILE} (not JSON: {error}); give a tokenizer.json"
        ) from None
    if not isinstance(fields, dict):
        raise DataError(f"data.tokenizer {file}: {NO_FILE}; give a tokenizer.json")
    return fields


def _parse(raw: bytes, file: str) -> tokenizers.Tokenizer:
    import tokenizers  # late: only such files need it

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # --workers sets the number of threads
    with _explaining(f"data.tokenizer {file}: {NO_FILE}", "; give a tokenizer.json"):
        tokenizer = tokenizers.Tokenizer.from_str(raw.decode("utf-8-sig"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a marker in a text is text
    return tokenizer


@contextlib.contextmanager
def _explaining(what: str, advice: str = "") -> Iterator[None]:
    """Explains errors of a library call. The library raises plain `Exception`, and panics, which are no `Exception`.

    Raises:
        DataError: the call raised an error.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        why = " ".join(str(error).split())[:300]
        raise DataError(f"{what} ({why}){advice}") from None


def _check_unknown(own: dict[str, int], fields: dict[str, Any], file: str) -> None:
    """Check that a model's vocabulary is not empty, and holds its token for unknown words."""
    if not own:
        raise DataError(f"{file}: its vocabulary is empty; give a tokenizer.json that was trained")
    unknown = (fields.get("model") or {}).get("unk_token")
    if isinstance(unknown, str) and unknown not in own:
        raise DataError(
            f"{file}: its token for unknown words, {shown(unknown)}, is not in its vocabulary; add it, or give another "
            "tokenizer.json"
        )


def _find_end(vocabulary: dict[str, int], end_of_text: str | int, file: str) -> str:
    """The end-of-text token as it is written: the one of this text or number or, for an empty text, the usual one."""
    if isinstance(end_of_text, int):
        token = next((token for token, number in vocabulary.items() if number == end_of_text), None)
        if token is None:
            raise DataError(f"{file}: has no token {end_of_text}, with which documents begin in the shards")
        return token
    if end_of_text:
        if end_of_text not in vocabulary:
            raise DataError(f"{file}: has no token {shown(end_of_text)}; give another end-of-text token")
        return end_of_text
    usual = [token for token in KNOWN_ENDS if token in vocabulary]
    if len(usual) != 1:
        which = (
            f"several end-of-text tokens ({', '.join(usual)})"
            if usual
            else "no end-of-text token that is known"
        )
        raise DataError(
            f"{file}: has {which}; name one with --data.end-of-text (of `data prepare`: --end-of-text), e.g. {KNOWN_ENDS[0]}"
        )
    return usual[0]


def _of_bytes(fields: dict[str, Any], vocabulary: dict[str, int]) -> bool:
    """Whether tokens stand for bytes, and the tokens of a text for exactly its bytes."""
    from tokenizers import pre_tokenizers  # late, as in `_parse`

    decoder = fields.get("decoder") or {}
    steps = json.dumps(fields.get("pre_tokenizer"))
    adds_space, removes = '"add_prefix_space": true' in steps, '"Removed"' in steps
    strips = any(
        not token["special"] and (token["lstrip"] or token["rstrip"])
        for token in fields.get("added_tokens") or []
    )
    return (
        decoder.get("type") == "ByteLevel"
        and not fields.get("normalizer")
        and set(re.findall(r'"type": "(\w+)"', steps)) <= BYTE_STEPS
        and not (adds_space or removes or strips)
        and set(pre_tokenizers.ByteLevel.alphabet())
        <= vocabulary.keys()  # a byte without a token would be dropped
    )


def _decoder_kinds(fields: dict[str, Any]) -> set[str]:
    """Types of the decoder and, if it is a sequence, of its parts."""
    decoder = fields.get("decoder") or {}
    return {str(part.get("type")) for part in (decoder, *decoder.get("decoders", ()))}
