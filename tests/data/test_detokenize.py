"""Text that comes token by token is the text of all tokens, and no character is held back longer than it must."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngptlab.data.detokenize import Detokenizer
from ngptlab.data.tokenize import ByteTokenizer, Tokenizer, tokenizer
from ngptlab.errors import DataError

BYTES = ByteTokenizer()


def streamed(vocabulary: Tokenizer, tokens: list[int]) -> list[str]:
    text = Detokenizer(vocabulary)
    return [*map(text.add, tokens), text.end()]


@given(st.lists(st.integers(0, 256), max_size=40))
def test_any_bytes(tokens: list[int]) -> None:
    assert "".join(streamed(BYTES, tokens)) == BYTES.decode(tokens)


@given(st.binary(max_size=12), st.text(max_size=8))
def test_any_text_after_any_bytes(junk: bytes, text: str) -> None:
    tokens = [*junk, *text.encode()]
    assert "".join(streamed(BYTES, tokens)) == BYTES.decode(tokens)


def test_a_character_is_given_with_its_last_byte() -> None:
    assert streamed(BYTES, list("aé€😀b".encode())) == [
        *["a", "", "é", "", "", "€", "", "", "", "😀", "b", ""],
    ]


def test_bytes_that_never_become_a_character_are_not_held_for_ever() -> None:
    pieces = streamed(BYTES, [0xFF] * 20)
    assert sum(map(len, pieces[:-1])) >= 17 and "".join(pieces) == "\ufffd" * 20


@pytest.mark.skipif(not os.environ.get("TIKTOKEN_CACHE_DIR"), reason="TIKTOKEN_CACHE_DIR is not set")
def test_gpt2_spells_characters_in_pieces() -> None:
    try:
        gpt2 = tokenizer("gpt2")
    except DataError as error:
        pytest.skip(str(error))
    text = "Schöne Grüße, 你好 世界, 😀🏳️‍🌈 at last"
    tokens = gpt2.encode(text).tolist()
    pieces = streamed(gpt2, tokens)
    assert "".join(pieces) == text
    assert "" in pieces[:-1] and not any("\ufffd" in piece for piece in pieces)


class Spaced:
    """Words with a space between any two, as vocabularies of some libraries are spelled."""

    name, vocab_size, end_of_text = "spaced", 4, 3

    def decode(self, ids: list[int]) -> str:
        return " ".join(["zero", "one", "two", "<|endoftext|>"][i] for i in ids)


def test_what_a_token_adds_may_depend_on_its_neighbours() -> None:
    pieces = streamed(Spaced(), [2, 0, 1, 1])  # type: ignore[arg-type]
    assert pieces == ["two", " zero", " one", " one", ""]
