"""Tokenizer files give the ids that the model was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Fast

from ngptlab.config import DataConfig
from ngptlab.data.tokenize import Tokenizer, tokenizer
from ngptlab.errors import DataError
from ngptlab.export.tokenizer import tokenizer_files

HARD = "a  b\n\n\t don't I'LL 12345 naïve 日本語 🙂\u200d\x00\u00a0  x<|endoftext|>y \r\n"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)


def fast(name: str) -> Fast:
    files = tokenizer_files(DataConfig(tokenizer=name), 64)
    made = Fast.from_str(files["tokenizer.json"])
    # As transformers does for the setting in tokenizer_config.json.
    made.encode_special_tokens = files["tokenizer_config.json"]["split_special_tokens"]
    return made


BYTES = fast("bytes")


@settings(deadline=None)
@given(TEXTS)
@example(HARD)
def test_bytes_of_any_text(text: str) -> None:
    ids = BYTES.encode(text).ids
    assert ids == tokenizer("bytes").encode(text).tolist()
    assert BYTES.decode(ids, skip_special_tokens=False) == text


def test_every_byte_has_its_value() -> None:
    assert [BYTES.token_to_id(piece) for piece in map(BYTES.id_to_token, range(257))] == list(range(257))
    assert BYTES.encode("\x00\x7f ÿ").ids == [0, 127, 32, 195, 191]


@pytest.fixture(scope="module")
def gpt2() -> tuple[Fast, Tokenizer]:
    try:
        return fast("gpt2"), tokenizer("gpt2")
    except DataError as error:
        pytest.skip(str(error))


def test_gpt2_on_a_real_text(gpt2: tuple[Fast, Tokenizer]) -> None:
    made, ours = gpt2
    text = HARD + Path(np.__file__).read_text(encoding="utf-8")
    ids = made.encode(text).ids
    assert ids == ours.encode(text).tolist() and len(ids) > 4000
    assert made.decode(ids, skip_special_tokens=False) == text


@settings(deadline=None, max_examples=50)
@given(text=TEXTS)
def test_gpt2_on_any_text(gpt2: tuple[Fast, Tokenizer], text: str) -> None:
    made, ours = gpt2
    assert made.encode(text).ids == ours.encode(text).tolist()
