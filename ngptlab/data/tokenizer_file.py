"""A tokenizer of the user's own: a `tokenizer.json` of the `tokenizers` library, known by its digest."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ngptlab import disk
from ngptlab.data.tokenize import FILE_NAME, Tokenizer, Tokens, checked
from ngptlab.data.tokenizer_growth import check_growth
from ngptlab.errors import DataError

if TYPE_CHECKING:
    import tokenizers

NAME_DIGITS = 16
NO_FILE = "is no file of the tokenizers library"
FILE_BYTES = 256 << 20  # the largest in use have 40 million
KNOWN_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[EOS]")
OFF = ("padding", "truncation", "post_processor")
"""Fields of a file that cut a text or put tokens around it; `encode` goes without them."""
MOST_TOKENS = 2**16  # what a shard's 16 bits can tell apart


class FileTokenizer(Tokenizer):
    """A tokenizer as a file describes it.

    What its normalizer or its unknown token lose is lost: `decode(encode(text)) == text` holds where it holds for the
    file. Markers in a text are plain text, padding, truncation and the file's own begin and end tokens are off.

    Raises:
        DataError: the file can't be read, may make a text many times as long, has no tokens or lacks the one that it has for
            unknown words, its tokens don't fit 16 bits, or no end-of-text token is found in it.
    """

    def __init__(self, file: str, end_of_text: str = "") -> None:
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
                f"{self.name}: takes a part of a text of {len(text):,} characters for its end-of-text token "
                f"{self.marker!r}; name another token with --end-of-text, or drop the text"
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

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> str:
        """See `Tokenizer.decode`; `end_of_text` becomes its own marker."""
        tokens = checked(ids, self)
        with _explaining(f"{self.name}: can't decode {len(tokens)} tokens"):
            return self._tokenizer.decode(tokens, skip_special_tokens=False)

    def _ids(self, text: str) -> Tokens:
        return self._all_ids([text])[0]

    def _all_ids(self, texts: Sequence[str]) -> list[Tokens]:
        # The `fast` call leaves out each token's place in the text, which nobody asks for here.
        size = sum(map(len, texts))
        with _explaining(f"{self.name}: can't encode a text of {size:,} characters"):
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

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # how many threads there are is up to --workers
    with _explaining(f"data.tokenizer {file}: {NO_FILE}", "; give a tokenizer.json"):
        tokenizer = tokenizers.Tokenizer.from_str(raw.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a marker in a text is text
    return tokenizer


@contextlib.contextmanager
def _explaining(what: str, advice: str = "") -> Iterator[None]:
    """Around a call of the library. It raises nothing more special than `Exception`, and panics that are none.

    Raises:
        DataError: it raised something.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        why = " ".join(str(error).split())[:300]
        raise DataError(f"{what} ({why}){advice}") from None


def _check_unknown(own: dict[str, int], fields: dict[str, Any], file: str) -> None:
    """Hold a model's vocabulary against the token that it has for what it doesn't know."""
    if not own:
        raise DataError(f"{file}: its vocabulary is empty; give a tokenizer.json that was trained")
    unknown = (fields.get("model") or {}).get("unk_token")
    if isinstance(unknown, str) and unknown not in own:
        raise DataError(
            f"{file}: its token for unknown words, {unknown!r}, is not in its vocabulary; add it, or give another tokenizer.json"
        )


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
