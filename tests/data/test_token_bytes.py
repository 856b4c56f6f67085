"""The bytes of text that tokens stand for, against the text itself, for every kind of tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from ngptlab.data.shards.manifest import MADE_UP, Manifest
from ngptlab.data.shards.token_bytes import TokenBytes, token_bytes
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.data.tokens.gpt2 import gpt2_lengths
from ngptlab.errors import DataError
from no_network import gpt2_or_skip

END = "</s>"
WORDS = ["the cat sat on the mat, 数 é 🙂"] * 20
TEXTS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=20), max_size=4)


def manifest(name: str, end_of_text: int, *, source: str = "text:x", vocab_size: int = 300) -> Manifest:
    splits: dict[str, Any] = {name: {} for name in ("train", "val", "long")}
    return Manifest(
        source=source, tokenizer=name, vocab_size=vocab_size, end_of_text=end_of_text, splits=splits
    )


def of_texts(counted: TokenBytes, encode: Callable[[str], Any], texts: list[str]) -> int:
    """Of documents one after another, each behind an end of text, cut into windows as validation is."""
    flat = np.concatenate([[counted.end_of_text, *encode(text)] for text in ["", *texts]]).astype(np.int64)
    half = len(flat) // 2
    windows = [flat[: half + 1], flat[half:]]
    return sum(counted.of(window[:-1], window[1:]) for window in windows)


def byte_level(**fields: Any) -> Library:
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=[END],
        initial_alphabet=fields.pop("alphabet", pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    library.train_from_iterator(WORDS, trainer)
    return library


def byte_fallback() -> Library:
    """Llama-2's kind: a space is written before the text, the decoder takes it away again."""
    vocabulary = [
        "<unk>",
        END,
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        "t",
        "h",
        "e",
        "th",
        "▁the",
        "é",
    ]
    merges = [("t", "h"), ("▁", "the"), ("th", "e")]
    vocabulary.insert(-1, "the")
    library = Library(
        models.BPE(
            vocab={token: number for number, token in enumerate(vocabulary)},
            merges=merges,
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    library.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return library


def metaspace() -> Library:
    library = Library(models.Unigram([("<unk>", 0.0), (END, 0.0), *((c, -3.0) for c in "▁abc é数")], 0))
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    return library


def saved(library: Library, folder: Path) -> Path:
    path = folder / "tokenizer.json"
    library.save(str(path))
    return path


@given(texts=TEXTS)
def test_bytes(texts: list[str]) -> None:
    counted = token_bytes("bytes", manifest("bytes", 256))
    assert counted.exact
    assert of_texts(counted, tokenizer("bytes").encode, texts) == len("".join(texts).encode())


def test_gpt2_needs_no_vocabulary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine may have shards and no network."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "none"))
    counted = token_bytes("gpt2", manifest("gpt2", 50256))
    assert counted.exact and len(counted.within_V) == 50257
    assert counted.of(np.array([50256, 15496]), np.array([15496, 995])) == len("Hello world")


def test_the_table_of_gpt2_is_tiktokens() -> None:
    vocabulary: Any = gpt2_or_skip()
    assert gpt2_lengths().tolist() == [*map(len, vocabulary.pieces()), 0]
    assert vocabulary.byte_lengths().tolist() == gpt2_lengths().tolist()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(byte_level(), tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def fallback(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(byte_fallback(), tmp_path_factory.mktemp("fallback"))


def counted_of(path: Path) -> TokenBytes:
    library = Library.from_file(str(path))
    return token_bytes(str(path), manifest("tokenizers:0", library.token_to_id(END)))


@given(texts=TEXTS)
def test_byte_level_files(plain: Path, texts: list[str]) -> None:
    counted = counted_of(plain)
    assert counted.exact
    assert of_texts(counted, tokenizer(str(plain)).encode, texts) == len("".join(texts).encode())


@given(texts=TEXTS)
def test_byte_fallback_files(fallback: Path, texts: list[str]) -> None:
    """Right for all of these texts, and not promised: "▁" in a text would be a space."""
    counted = counted_of(fallback)
    assert not counted.exact
    assert of_texts(counted, tokenizer(str(fallback)).encode, texts) == len("".join(texts).encode())


def test_other_files_count_what_tokens_decode_to(tmp_path: Path) -> None:
    path = saved(metaspace(), tmp_path)
    counted, encode = counted_of(path), tokenizer(str(path)).encode
    assert not counted.exact
    assert of_texts(counted, encode, ["ab c", "é数", "a"]) == len("ab cé数a".encode())
    words = {"[UNK]": 0, END: 1, "a": 2, "数": 3}
    library = Library(models.WordLevel(words, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    path = saved(library, tmp_path)
    assert of_texts(counted_of(path), tokenizer(str(path)).encode, ["a 数 b"]) == len("a 数 [UNK]".encode())


def changed(library: Library, folder: Path, **fields: Any) -> Path:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(library.to_str()) | fields))
    return path


@pytest.mark.parametrize(
    "change",
    [
        lambda: (byte_level(), {"normalizer": {"type": "Lowercase"}}),
        lambda: (byte_level(alphabet=["a", "b"]), {}),  # bytes that have no token are dropped
        lambda: (
            byte_level(),
            {
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [
                        {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": False},
                        {
                            "type": "ByteLevel",
                            "add_prefix_space": False,
                            "trim_offsets": True,
                            "use_regex": True,
                        },
                    ],
                }
            },
        ),
        lambda: (byte_level(), {"pre_tokenizer": {"type": "WhitespaceSplit"}}),
    ],
)
def test_files_that_change_a_text_are_not_exact(
    tmp_path: Path, change: Callable[[], tuple[Library, dict[str, Any]]]
) -> None:
    library, fields = change()
    path = changed(library, tmp_path, **fields)
    assert not counted_of(path).exact
    with pytest.raises(DataError, match="no fixed number of bytes"):
        tokenizer(str(path)).byte_lengths()


def test_added_words_that_take_the_space_before_them_are_not_exact(tmp_path: Path) -> None:
    library = byte_level()
    library.add_tokens([AddedToken("cat", normalized=False)])
    assert counted_of(saved(library, tmp_path)).exact
    library.add_tokens([AddedToken("mat", normalized=False, lstrip=True)])
    assert not counted_of(saved(library, tmp_path)).exact


def test_the_end_of_text_is_the_manifests(tmp_path: Path) -> None:
    """A run on shards need not name it: `--data.end-of-text` decides nothing there."""
    library = byte_level()
    library.add_special_tokens([AddedToken("<eos>"), AddedToken("<odd>")])
    path = saved(library, tmp_path)
    odd = library.token_to_id("<odd>")
    counted = token_bytes(str(path), manifest("tokenizers:0", odd))
    assert counted.within_V[odd] == 0 and counted.within_V[library.token_to_id("<eos>")] == 5
    with pytest.raises(DataError, match=r"tokenizer\.json: has no token 9999"):
        token_bytes(str(path), manifest("tokenizers:0", 9999))


def test_made_up_shards_have_a_byte_a_token() -> None:
    counted = token_bytes("gpt2", manifest("gpt2", 9, source=MADE_UP, vocab_size=10))
    assert counted.of(np.array([[1, 9], [3, 2]]), np.array([[9, 3], [2, 0]])) == 3


def test_a_token_outside_is_an_error() -> None:
    with pytest.raises(DataError, match="token 257 is outside the tokenizer's vocabulary of 257"):
        token_bytes("bytes", manifest("bytes", 256)).of(np.array([1]), np.array([257]))
