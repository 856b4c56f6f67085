"""Tokenizer files give the ids that the model was trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Fast
from tokenizers import processors

from ngptlab.data.tokens.choose import tokenizer
from ngptlab.data.tokens.tokenizer import Tokenizer
from ngptlab.export.tokenizer import tokenizer_files
from ngptlab.export.write import export
from ngptlab.trained import Trained
from no_network import gpt2_or_skip

HARD = "a  b\n\n\t don't I'LL 12345 naïve 日本語 🙂\u200d\x00\u00a0  x<|endoftext|>y \r\n"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)


def fast(name: str, end_of_text: str = "") -> Fast:
    files = tokenizer_files(tokenizer(name, end_of_text), 64)
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
    vocabulary = gpt2_or_skip()
    return fast("gpt2"), vocabulary


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


MARKER = "</s>"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Bytes with words and an end of their own, by a file that also pads, cuts, and puts tokens around a text."""
    library = Fast.from_str(BYTES.to_str())
    library.add_tokens(["don't", "日本"])
    library.add_special_tokens(["<s>", MARKER])
    around = [(token, library.token_to_id(token)) for token in ("<s>", MARKER)]
    library.post_processor = processors.TemplateProcessing(single=f"<s> $A {MARKER}", special_tokens=around)
    library.enable_truncation(4)
    library.enable_padding(length=50)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    library.save(str(path))
    return str(path)


@settings(deadline=None)
@given(text=TEXTS)
@example(text=f"{HARD}<s>{MARKER}<pad>")
def test_a_file_on_any_text(file: str, text: str) -> None:
    made, ours = fast(file, MARKER), tokenizer(file, MARKER)
    assert made.encode(text).ids == ours.encode(text).tolist()


def test_a_file_s_end_of_text(file: str) -> None:
    """It is not the last byte-level one, 256, which the file has too."""
    config = tokenizer_files(tokenizer(file, MARKER), 64)["tokenizer_config.json"]
    assert [config[f"{kind}_token"] for kind in ("bos", "eos", "pad")] == [MARKER] * 3
    assert fast(file, MARKER).token_to_id(MARKER) == tokenizer(file, MARKER).end_of_text == 260


@pytest.mark.extra
@pytest.mark.parametrize("form", ["ngptlab", "llama"])
def test_a_file_s_run_in_transformers(
    make_trained: Callable[..., Trained], tmp_path: Path, file: str, form: Literal["ngptlab", "llama"]
) -> None:
    transformers = pytest.importorskip("transformers")
    data = {"tokenizer": file, "end_of_text": MARKER}
    folder = export(make_trained("gpt", data=data), tmp_path / "out", form)
    made, ours = transformers.AutoTokenizer.from_pretrained(folder), tokenizer(file, MARKER)
    text = f"{HARD}<s>{MARKER}"
    ids = made(text)["input_ids"]
    assert ids == ours.encode(text).tolist() and made.decode(ids) == ours.decode(ids) == text
    assert made.eos_token_id == ours.end_of_text and len(made) == ours.vocab_size == 261
    assert made(["a", "bcd"], padding=True)["input_ids"] == [[260, 260, 97], [98, 99, 100]]
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] == 260
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == 260 and generation["suppress_tokens"] == [261, 262]
