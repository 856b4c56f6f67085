"""Tokens: exact round trips, ranges, and what is said when a vocabulary isn't to be had."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngptlab.data.tokens.choose import tokenizer
from ngptlab.data.tokens.tokenizer import Tokenizer
from ngptlab.errors import DataError
from no_network import gpt2_or_skip

TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    return gpt2_or_skip()


def test_bytes_are_utf8() -> None:
    ids = tokenizer("bytes").encode("aé\n")
    assert ids.dtype == np.uint16
    assert ids.tolist() == [97, 195, 169, 10]


def test_bytes_vocabulary() -> None:
    vocabulary = tokenizer("bytes")
    assert (vocabulary.name, vocabulary.vocab_size, vocabulary.end_of_text) == ("bytes", 257, 256)


@given(TEXTS)
def test_bytes_round_trip(text: str) -> None:
    vocabulary = tokenizer("bytes")
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert not (ids == vocabulary.end_of_text).any()


def test_bytes_decode_broken_utf8_and_end_of_text() -> None:
    assert tokenizer("bytes").decode([256, 97, 0xC3, 256, 98]) == "<|endoftext|>a\ufffd<|endoftext|>b"
    assert tokenizer("bytes").decode(np.array([97, 98], dtype=np.int64)) == "ab"
    assert tokenizer("bytes").decode([]) == ""


# Also pieces of the marker, and a marker, which are text where they stand in a text.
DOCUMENTS = st.lists(
    st.lists(st.one_of(TEXTS, st.sampled_from(["<|endoftext|>", "<|endoftext|", "<", "|>", " \n "])), max_size=4)
    .map("".join),
    min_size=1,
    max_size=6,
)  # fmt: skip


def one_by_one(vocabulary: Tokenizer, texts: list[str]) -> list[int]:
    return [token for text in texts for token in (vocabulary.end_of_text, *vocabulary.encode(text).tolist())]


@given(DOCUMENTS)
def test_documents_of_bytes_are_each_alone(texts: list[str]) -> None:
    vocabulary = tokenizer("bytes")
    assert vocabulary.encode_documents(texts).tolist() == one_by_one(vocabulary, texts)


@given(DOCUMENTS)
def test_documents_of_gpt2_are_each_alone(gpt2: Tokenizer, texts: list[str]) -> None:
    found = gpt2.encode_documents(texts)
    assert found.dtype == np.uint16
    assert found.tolist() == one_by_one(gpt2, texts)


def test_a_copy_of_gpt2_is_apart(gpt2: Tokenizer) -> None:
    texts = ["It's 12,345 élan  ", "<|endoftext|>", "\n\n x"]
    other = gpt2.copy()
    assert other._encoding is not gpt2._encoding
    assert other.encode_documents(texts).tolist() == one_by_one(gpt2, texts)


def test_a_text_that_gpt2_cannot_take_is_one_line(gpt2: Tokenizer) -> None:
    """The expression that cuts words goes back over blanks that a letter follows, and has no room for so many."""
    with pytest.raises(
        DataError, match=r"a text of 1,100,003 characters .*run of a million blanks; shorten"
    ) as caught:
        gpt2.encode_documents(["two", "one" + " " * 1_099_999 + "x", "three"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("token", [-1, 257, 50_000])
def test_token_beyond_the_vocabulary_is_an_error(token: int) -> None:
    with pytest.raises(DataError, match=f"token {token} is outside the bytes vocabulary of 257"):
        tokenizer("bytes").decode([97, token])


def test_unknown_tokenizer_names_the_nearest() -> None:
    with pytest.raises(DataError, match=r"'gpt-2' is unknown; did you mean 'gpt2'\?"):
        tokenizer("gpt-2")


@pytest.mark.parametrize("cause", [ConnectionError("no route"), ValueError("hash mismatch")])
def test_without_network_the_cache_variable_is_named(
    cause: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiktoken

    def refuse(name: str) -> tiktoken.Encoding:
        raise cause

    monkeypatch.setattr(tiktoken, "get_encoding", refuse)
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    with pytest.raises(
        DataError, match=r"TIKTOKEN_CACHE_DIR is not set; .* set TIKTOKEN_CACHE_DIR to"
    ) as caught:
        tokenizer("gpt2")
    assert "\n" not in str(caught.value)


def test_gpt2_vocabulary(gpt2: Tokenizer) -> None:
    assert (gpt2.name, gpt2.vocab_size, gpt2.end_of_text) == ("gpt2", 50257, 50256)
    ids = gpt2.encode("Hello world")
    assert ids.dtype == np.uint16
    assert ids.tolist() == [15496, 995]


def test_gpt2_takes_control_strings_for_text(gpt2: Tokenizer) -> None:
    ids = gpt2.encode("a<|endoftext|>b")
    assert gpt2.end_of_text not in ids
    assert gpt2.decode(ids) == "a<|endoftext|>b"
    assert gpt2.decode([gpt2.end_of_text]) == "<|endoftext|>"


@given(text=TEXTS)
def test_gpt2_round_trip(gpt2: Tokenizer, text: str) -> None:
    assert gpt2.decode(gpt2.encode(text)) == text


@given(text=TEXTS, cut=st.integers(0, 200))
def test_gpt2_tokens_are_those_of_ordinary_text(gpt2: Tokenizer, text: str, cut: int) -> None:
    """By the library's plain call, which makes a list."""
    import tiktoken

    text = text[:cut] + "<|endoftext|>" + text[cut:]
    assert gpt2.encode(text).tolist() == tiktoken.get_encoding("gpt2").encode_ordinary(text)


def test_gpt2_padding_tokens_have_no_text(gpt2: Tokenizer) -> None:
    with pytest.raises(DataError, match="token 50300 is outside the gpt2 vocabulary of 50257"):
        gpt2.decode(np.array([50300]))
