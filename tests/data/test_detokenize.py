"""Text that comes token by token is the text of all tokens, whatever the tokenizer, and held back no longer than it must be."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import models

from ngptlab.data.tokens.choose import tokenizer
from ngptlab.data.tokens.decoders import byte_letters
from ngptlab.data.tokens.detokenize import detokenizer
from ngptlab.data.tokens.tokenizer import ByteTokenizer, Tokenizer
from ngptlab.errors import DataError
from no_network import gpt2_or_skip

BYTES = ByteTokenizer()
END = "</s>"


def streamed(vocabulary: Tokenizer, tokens: Sequence[int], prompt: Sequence[int] = ()) -> list[str]:
    text = detokenizer(vocabulary, prompt or [vocabulary.end_of_text])
    return [*map(text.add, tokens), text.end()]


def added(vocabulary: Tokenizer, tokens: Sequence[int], prompt: Sequence[int] = ()) -> str | None:
    """What the tokens add to the prompt's text; None where they change that, too, or the library can't decode them."""
    prompt = [*(prompt or [vocabulary.end_of_text])]
    try:
        known, text = vocabulary.decode(prompt), vocabulary.decode([*prompt, *tokens])
    except DataError:
        return None
    return text[len(known) :] if text.startswith(known) else None


# --- bytes --------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 256), min_size=1, max_size=6), st.lists(st.integers(0, 256), max_size=40))
def test_any_bytes(prompt: list[int], tokens: list[int]) -> None:
    assert "".join(streamed(BYTES, tokens)) == BYTES.decode(tokens)
    expected = added(BYTES, tokens, prompt)
    assert expected is None or "".join(streamed(BYTES, tokens, prompt)) == expected


@given(st.binary(max_size=12), st.text(max_size=8))
def test_any_text_after_any_bytes(junk: bytes, text: str) -> None:
    tokens = [*junk, *text.encode()]
    assert "".join(streamed(BYTES, tokens)) == BYTES.decode(tokens)


def test_a_character_is_given_with_its_last_byte() -> None:
    assert streamed(BYTES, list("aé€😀b".encode())) == [
        *["a", "", "é", "", "", "€", "", "", "", "😀", "b", ""],
    ]


def test_bytes_that_never_become_a_character_are_given_at_once() -> None:
    assert streamed(BYTES, [0xFF] * 20) == ["\ufffd"] * 20 + [""]


@pytest.mark.skipif(not os.environ.get("TIKTOKEN_CACHE_DIR"), reason="TIKTOKEN_CACHE_DIR is not set")
def test_gpt2_spells_characters_in_pieces() -> None:
    gpt2 = gpt2_or_skip()
    text = "Schöne Grüße, 你好 世界, 😀🏳️‍🌈 at last"
    tokens = gpt2.encode(text).tolist()
    pieces = streamed(gpt2, tokens)
    assert "".join(pieces) == text
    assert "" in pieces[:-1] and not any("\ufffd" in piece for piece in pieces)
    odd = [tokens[index] for index in range(0, len(tokens), 2)]
    assert "".join(streamed(gpt2, odd)) == gpt2.decode(odd)


# --- files --------------------------------------------------------------------------------------------------------------

LLAMA = [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
]
WORDPIECE = {"type": "WordPiece", "prefix": "##", "cleanup": True}
META = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
SUFFIXED = {"type": "BPEDecoder", "suffix": "</w>"}
CTC = {"type": "CTC", "pad_token": "a", "word_delimiter_token": "|", "cleanup": True}
LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
MORE = {"type": "Replace", "pattern": {"Regex": "a+|l"}, "content": "<0x41>"}
LONG = {"type": "Replace", "pattern": {"String": "lo a"}, "content": "."}
RIGHT = {"type": "Strip", "content": " ", "start": 0, "stop": 2}

APART: dict[str, Any] = {
    "none": None,
    "byte level": LEVEL,
    "byte level in a sequence": [LEVEL],
    "llama 2": LLAMA,
    "gemma": LLAMA[:3],
    "byte fallback alone": {"type": "ByteFallback"},
    "byte fallback, metaspace": [LLAMA[1], META],
    "metaspace, byte fallback": [META, LLAMA[1], LLAMA[2]],
    "metaspace": META,
    "metaspace, never prepended": {**META, "prepend_scheme": "never"},
    "wordpiece": WORDPIECE,
    "wordpiece, fused": [WORDPIECE, LLAMA[2], LLAMA[3]],
    "byte fallback, wordpiece": [LLAMA[1], WORDPIECE],
    "suffixes": SUFFIXED,
    "byte fallback, suffixes": [LLAMA[1], SUFFIXED, LLAMA[2]],
    "spaces after fuse": [LLAMA[1], LLAMA[2], LLAMA[0], LLAMA[3]],
    "a regex for each token": [MORE, LLAMA[2]],
    "stripped tokens": [{**RIGHT, "start": 1}],
}
TOGETHER: dict[str, Any] = {
    "ctc": CTC,
    "stripped at its end": [*LLAMA[:3], RIGHT],
    "a regex over tokens": [LLAMA[2], MORE],
    "a word over tokens": [*LLAMA[:3], LONG],
    "byte level after fuse": [LLAMA[2], LEVEL],
    "wordpiece after fuse": [LLAMA[2], WORDPIECE],
    "made byte tokens": [MORE, LLAMA[1]],
    "joined byte tokens": [LLAMA[2], LLAMA[1]],
    "words that are byte tokens at the end": [SUFFIXED, LLAMA[1]],
}
DECODERS = APART | TOGETHER

WORDS = [
    *("<unk>", END, "▁", "▁▁", "▁Hello", "Hello", "▁Priority", "a", "lo", "l", ".", "n't", "##ing", " ", "  "),
    *("a</w>", "a</w>b</w>", "</w>", "do</w>", "|", "<0xE4></w>", "<0x4G>", "<0x+1>", "\ufffd", "ĠHello", "Ã", "©"),
    *(f"<0x{byte:02X}>" for byte in sorted({*"你好é😀A".encode(), 0xFF})),
    *(byte_letters()[byte] for byte in sorted({*"你好é😀".encode(), 0xFF}) if byte_letters()[byte] not in "Ã©"),
]  # fmt: skip
NUMBERS = {word: number + 2 * (number > 5) for number, word in enumerate(WORDS)}
"""Two numbers have no token."""


@cache
def made(name: str, end: str = END) -> Tokenizer:
    library = Library(models.WordLevel(NUMBERS, unk_token="<unk>"))
    decoder = DECODERS[name]
    if isinstance(decoder, list):
        decoder = {"type": "Sequence", "decoders": decoder}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        file.write_text(json.dumps(json.loads(library.to_str()) | {"decoder": decoder}))
        return tokenizer(str(file), end)


TOKENS = st.integers(0, max(NUMBERS.values()))
BYTE_TOKENS = st.sampled_from([number for word, number in NUMBERS.items() if word.startswith("<0x")])
MIXED = st.one_of(TOKENS, BYTE_TOKENS)


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=40)
@given(prompt=st.lists(MIXED, max_size=4), tokens=st.lists(MIXED, max_size=12))
def test_any_tokens_of_any_file(name: str, prompt: list[int], tokens: list[int]) -> None:
    vocabulary = made(name)
    prompt = [vocabulary.end_of_text, *prompt]
    expected = added(vocabulary, tokens, prompt)
    assert expected is None or "".join(streamed(vocabulary, tokens, prompt)) == expected


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=40)
@given(end=st.sampled_from(WORDS), tokens=st.lists(MIXED, max_size=6))
def test_any_token_as_the_end_of_text(name: str, end: str, tokens: list[int]) -> None:
    """It need not be one whose text stays the same."""
    vocabulary = made(name, end)
    expected = added(vocabulary, tokens)
    assert expected is None or "".join(streamed(vocabulary, tokens)) == expected


def test_what_the_library_breaks_down_on_is_an_error() -> None:
    with pytest.raises(DataError, match=r"can't decode \d+ tokens .*; mend the file's decoder"):
        made("stripped tokens").decode(ids(" "))


def ids(*words: str) -> list[int]:
    return [NUMBERS[word] for word in words]


def byte_tokens(text: str) -> list[int]:
    return ids(*(f"<0x{byte:02X}>" for byte in text.encode()))


@pytest.mark.parametrize("text", ["你好", "😀"])
def test_byte_tokens_are_given_when_no_later_one_can_spoil_them(text: str) -> None:
    tokens = byte_tokens(text)
    pieces = streamed(made("llama 2"), [*tokens, *ids("▁Hello", "a")])
    assert pieces == [*[""] * len(tokens), f"{text} Hello", "a", ""]
    assert streamed(made("llama 2"), tokens)[-1] == text


def test_bytes_that_fit_not_spoil_all_beside_them() -> None:
    tokens = [*byte_tokens("你"), *ids("<0xFF>")]
    assert streamed(made("gemma"), [*tokens, *ids("a")])[-2:] == ["\ufffd" * 4 + "a", ""]
    # Those of the prompt are on the page.
    prompt = ids(END, *(f"<0x{byte:02X}>" for byte in "你".encode()))
    assert streamed(made("gemma"), ids("<0xFF>", "a"), prompt) == ["", "\ufffda", ""]


def test_a_space_before_the_first_word_is_kept() -> None:
    prompt = ids(END, "▁Hello")
    for name in ("llama 2", "metaspace"):
        assert streamed(made(name), ids("▁Priority", "a"), prompt) == [" Priority", "a", ""]


@pytest.mark.parametrize("name", APART)
def test_each_token_is_given_at_once_where_it_stands_apart(name: str) -> None:
    vocabulary = made(name)
    tokens = ids("Hello", "a", "lo", "Hello")
    pieces = streamed(vocabulary, tokens)
    assert all(pieces[:-1]) and not pieces[-1] and vocabulary.spelling != "whole"


@pytest.mark.parametrize("name", TOGETHER)
def test_text_comes_at_the_end_where_a_token_may_change_all(name: str) -> None:
    vocabulary = made(name)
    tokens = ids("Hello", "a", "lo", "Hello")
    assert streamed(vocabulary, tokens) == [*[""] * 4, added(vocabulary, tokens)]


@pytest.mark.parametrize("name", ["byte level", "llama 2", "wordpiece", "none"])
def test_a_token_costs_the_same_however_long_the_text_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary, decoded = made(name), [0]
    real = type(vocabulary).decode

    def counted(self: Tokenizer, tokens: Sequence[int]) -> str:
        decoded[0] += len(tokens)
        return real(self, tokens)

    monkeypatch.setattr(type(vocabulary), "decode", counted)
    tokens = [*ids("a") * 500, *byte_tokens("你") * 500, *ids("<0xFF>") * 500]
    streamed(vocabulary, tokens)
    assert decoded[0] < 8 * len(tokens)


def test_a_token_that_no_file_has_is_named() -> None:
    for name in ("byte level", "llama 2", "ctc"):
        with pytest.raises(DataError, match="token 999 is outside"):
            streamed(made(name), [999])


class Spaced:
    """Words with a space between any two; of what it makes of its neighbours, nothing is known."""

    name, vocab_size, end_of_text, spelling = "spaced", 4, 3, "whole"

    def decode(self, ids: list[int]) -> str:
        return " ".join(["zero", "one", "two", "<|endoftext|>"][i] for i in ids)


def test_a_tokenizer_of_which_nothing_is_known() -> None:
    assert streamed(Spaced(), [2, 0, 1]) == ["", "", "", " two zero one"]  # type: ignore[arg-type]
