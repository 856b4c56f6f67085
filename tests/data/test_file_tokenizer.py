"""A tokenizer.json of the user's own: found by path, known by digest, and its end-of-text never in a text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Library

from ngptlab.cli import main
from ngptlab.config import DataConfig, parse
from ngptlab.data.corpus import Corpus, open_corpus
from ngptlab.data.tokens.choose import tokenizer, tokenizer_name
from ngptlab.errors import ConfigError, DataError
from ngptlab.recipes import recipe
from ngptlab.smoke import smoke

END = "<|endoftext|>"
TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
MakeFolder = Callable[[Iterable[str] | int], Path]


def byte_level(file: Path, *special: str, size: int = 300, **fields: Any) -> Path:
    """A BPE over bytes, as GPT-2's, trained on a few words; `fields` replace those of the file."""
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    library.train_from_iterator(["the cat sat on the mat"] * 20, trainer)
    file.write_text(json.dumps(json.loads(library.to_str()) | fields))
    return file


def words(file: Path, *vocabulary: str) -> Path:
    """A vocabulary of whole words, `</s>` among them as if it were one."""
    library = Library(models.WordLevel({word: n for n, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.save(str(file))
    return file


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_level(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json", END)


def message(call: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@given(text=TEXTS, cut=st.integers(0, 60))
def test_round_trip(file: Path, text: str, cut: int) -> None:
    vocabulary = tokenizer(str(file))
    text = text[:cut] + END + text[cut:]
    ids = vocabulary.encode(text)
    assert ids.dtype == np.uint16
    assert vocabulary.decode(ids) == text
    assert vocabulary.end_of_text not in ids
    assert vocabulary.byte_lengths()[ids].sum() == len(text.encode())
    assert vocabulary.decode([vocabulary.end_of_text, *ids]) == END + text


@given(st.lists(st.one_of(TEXTS, TEXTS.map(lambda text: text + END + " the")), min_size=1, max_size=5))
def test_several_documents_are_each_alone(file: Path, texts: list[str]) -> None:
    vocabulary = tokenizer(str(file))
    alone = [(vocabulary.end_of_text, *vocabulary.encode(text).tolist()) for text in texts]
    assert vocabulary.encode_documents(texts).tolist() == [token for ids in alone for token in ids]


def test_a_copy_is_apart(tmp_path: Path) -> None:
    """Also where the file's own settings are off, and a marker is a word."""
    vocabulary = tokenizer(str(words(tmp_path / "words.json", "</s>", "a", "[UNK]")))
    other = vocabulary.copy()
    assert other._tokenizer is not vocabulary._tokenizer
    assert other.encode_documents(["a </s>", "a"]).tolist() == [0, 1, 2, 2, 0, 1]


def test_what_is_known_of_it(file: Path, tmp_path: Path) -> None:
    vocabulary = tokenizer(str(file))
    library = Library.from_file(str(file))
    assert vocabulary.end_of_text == library.token_to_id(END)
    assert vocabulary.vocab_size == library.get_vocab_size() == len(vocabulary.byte_lengths())
    assert vocabulary.byte_lengths()[vocabulary.end_of_text] == 0
    assert len(vocabulary.encode("the cat")) < 7
    elsewhere = tmp_path / "other.json"
    elsewhere.write_bytes(file.read_bytes())
    assert vocabulary.name == tokenizer(str(elsewhere)).name == tokenizer_name(str(elsewhere))
    elsewhere.write_bytes(file.read_bytes() + b"\n")
    assert vocabulary.name != tokenizer_name(str(elsewhere))


def test_nothing_is_added_cut_or_padded(tmp_path: Path) -> None:
    library = Library.from_file(str(byte_level(tmp_path / "plain.json", END)))
    plain = tokenizer(str(tmp_path / "plain.json")).encode("the cat sat")
    library.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, library.token_to_id(END))]
    )
    library.enable_truncation(2)
    library.enable_padding(length=50)
    library.save(str(tmp_path / "chat.json"))
    assert tokenizer(str(tmp_path / "chat.json")).encode("the cat sat").tolist() == plain.tolist()


def test_a_marker_that_is_a_word_of_the_vocabulary(tmp_path: Path) -> None:
    """`</s>` is common in pages; taken for the end of a document, it would cut them."""
    vocabulary = tokenizer(str(words(tmp_path / "words.json", "</s>", "a", "[UNK]")))
    assert vocabulary.end_of_text == 0
    assert vocabulary.encode("a </s> a </s>").tolist() == [1, 2, 2, 1, 2, 2]
    cased = Library.from_file(str(tmp_path / "words.json"))
    cased.normalizer = normalizers.Lowercase()
    cased.save(str(tmp_path / "cased.json"))
    said = message(lambda: tokenizer(str(tmp_path / "cased.json")).encode("a </S> a"))
    assert "takes a part of a text of 8 characters for its end-of-text token '</s>'" in said


@pytest.mark.parametrize(
    ("special", "given", "said"),
    [
        ((END, "</s>"), "", f"several end-of-text tokens ({END}, </s>); name one"),
        (("<bos>",), "", "no end-of-text token that is known; name one"),
        ((END,), "<end>", "has no token '<end>'"),
    ],
)
def test_the_end_of_text_is_found_or_given(
    tmp_path: Path, special: tuple[str, ...], given: str, said: str
) -> None:
    path = byte_level(tmp_path / "tokenizer.json", *special)
    assert said in message(lambda: tokenizer(str(path), given))
    assert tokenizer(str(path), special[-1]).end_of_text == len(special) - 1


def test_other_markers_are_text_too(tmp_path: Path) -> None:
    vocabulary = tokenizer(str(byte_level(tmp_path / "tokenizer.json", END, "<bos>")))
    ids = vocabulary.encode("a<bos>b")
    assert 1 not in ids and vocabulary.decode([1]) == "<bos>" and vocabulary.decode(ids) == "a<bos>b"


@pytest.mark.parametrize("content", [None, b"{}", b"\xff", b"nonsense"])
def test_a_file_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    said = message(lambda: tokenizer(str(path)))
    assert str(path) in said and ("can't be read" in said or "is no file of the tokenizers library" in said)


def test_tokens_of_a_number_that_no_vocabulary_has(tmp_path: Path) -> None:
    """Tables are as long as the largest number."""
    library = Library(models.WordLevel({"[UNK]": 0, END: 2**24}, unk_token="[UNK]"))
    library.save(str(tmp_path / "large.json"))
    said = message(lambda: tokenizer(str(tmp_path / "large.json")))
    assert "has tokens up to 16777216, allowed are 0..16777215" in said


@pytest.mark.parametrize(
    "fields",
    [
        {"decoder": None},
        {"normalizer": {"type": "Lowercase"}},
        {
            "pre_tokenizer": {
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": True,
                "use_regex": True,
            }
        },
    ],
)
def test_bytes_a_token_are_only_given_where_they_are_certain(tmp_path: Path, fields: dict[str, Any]) -> None:
    vocabulary = tokenizer(str(byte_level(tmp_path / "tokenizer.json", END, **fields)))
    assert "no fixed number of bytes" in message(vocabulary.byte_lengths)


def test_added_tokens_that_are_text_count_their_bytes(tmp_path: Path) -> None:
    library = Library.from_file(str(byte_level(tmp_path / "plain.json", END)))
    library.add_tokens([AddedToken("数é", normalized=False)])
    library.save(str(tmp_path / "more.json"))
    vocabulary = tokenizer(str(tmp_path / "more.json"))
    ids = vocabulary.encode("the 数é cat")
    assert vocabulary.vocab_size - 1 in ids
    assert vocabulary.byte_lengths()[ids].sum() == len("the 数é cat".encode())


def test_a_byte_order_mark_before_the_file(file: Path, tmp_path: Path) -> None:
    marked = tmp_path / "marked.json"
    marked.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    found, plain = tokenizer(str(marked)), tokenizer(str(file))
    assert found.encode("the cat").tolist() == plain.encode("the cat").tolist()
    assert found.text() == plain.text()  # type: ignore[attr-defined]


# --- in a run -----------------------------------------------------------------------------------------------------------


def corpus(texts: Path, file: Path, vocab_size: int = 300, **fields: str) -> Corpus:
    data = DataConfig(source=f"text:{texts}", tokenizer=str(file), **fields)
    return open_corpus(data, vocab_size=vocab_size, long_min_tokens=20)


def test_the_digest_of_the_data_follows_the_file(
    cache: Path, make_folder: MakeFolder, file: Path, tmp_path: Path
) -> None:
    texts = make_folder(60)
    first = corpus(texts, file)
    moved = tmp_path / "moved.json"
    moved.write_bytes(file.read_bytes())
    assert corpus(texts, moved).folder == first.folder  # nothing is made again
    other = byte_level(tmp_path / "other.json", END, size=262)
    assert corpus(texts, other).digest != first.digest
    with pytest.raises(
        DataError, match=r"has \d+ tokens, the model's vocabulary is 200; set --model.vocab-size"
    ):
        corpus(texts, file, vocab_size=200)


def test_the_command_and_a_run_on_its_shards(
    cache: Path, make_folder: MakeFolder, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, out = make_folder([f"the cat {number} sat on the mat" for number in range(60)]), tmp_path / "out"
    assert (
        main(["data", "prepare", str(texts), "--tokenizer", str(file), "--out", str(out), "--workers", "2"])
        == 0
    )
    assert f"--data.tokenizer {file}" in capsys.readouterr().out
    assert main(["data", "verify", str(out)]) == 0
    data = DataConfig(source=f"shards:{out}", tokenizer=str(file))
    found = open_corpus(data, vocab_size=300, long_min_tokens=20)
    vocabulary = tokenizer(str(file))
    documents = found.train.documents(0, found.end_of_text)
    assert {vocabulary.decode(ids) for ids in documents} <= {path.read_text() for path in texts.iterdir()}
    other = byte_level(tmp_path / "other.json", END, size=262)
    with pytest.raises(
        DataError, match=r"give --data.tokenizer the tokenizer.json whose SHA-256 begins with "
    ):
        open_corpus(data.model_copy(update={"tokenizer": str(other)}), vocab_size=300, long_min_tokens=20)
    with pytest.raises(DataError, match=r"give --data.tokenizer the tokenizer.json whose"):
        open_corpus(DataConfig(source=f"shards:{out}"), vocab_size=300, long_min_tokens=20)
    two = data.model_copy(update={"end_of_text": "the"})
    with pytest.raises(
        DataError, match=r"its documents begin with token 0, which is not data.end_of_text 'the'"
    ):
        open_corpus(two, vocab_size=300, long_min_tokens=20)


def test_books_are_added_to_its_shards(
    cache: Path, make_folder: MakeFolder, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts, out = make_folder([f"the cat {number} sat on the mat" for number in range(60)]), tmp_path / "out"
    two = byte_level(tmp_path / "two.json", "</s>", END)
    for name, end in ((file, END), (two, END)):
        command = ["data", "prepare", str(texts), "--tokenizer", str(name), "--end-of-text", end]
        assert main([*command, "--out", str(out / name.stem)]) == 0
    assert f"--data.tokenizer {two} --data.end-of-text '{END}'" in capsys.readouterr().out
    book = tmp_path / "book.txt"
    book.write_text("the mat sat on the cat")

    def add(name: Path, to: Path) -> int:
        return main(["data", "get", "books", str(book), "--tokenizer", str(name), "--out", str(to)])

    assert add(file, out / file.stem) == 0
    data = DataConfig(source=f"shards:{out / file.stem}", tokenizer=str(file))
    (found,) = open_corpus(data, vocab_size=300, long_min_tokens=1).long.documents(1, 0)
    assert tokenizer(str(file)).decode(found) == book.read_text()
    capsys.readouterr()
    assert add(two, out / file.stem) == 2
    assert "give --tokenizer the tokenizer.json whose SHA-256 begins with" in capsys.readouterr().err
    one = byte_level(tmp_path / "one.json", "<s>", "</s>")
    assert (
        main(
            [
                "data",
                "prepare",
                str(texts),
                "--tokenizer",
                str(one),
                "--end-of-text",
                "<s>",
                "--out",
                str(out / "one"),
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert add(one, out / "one") == 2
    assert "its documents begin with token 0" in capsys.readouterr().err


@pytest.mark.parametrize("end_of_text", ["", END])
def test_a_smoke_test_of_a_recipe_with_it(cache: Path, file: Path, end_of_text: str) -> None:
    """Its made-up shards are said to be in that file's tokens."""
    demo = recipe("demo")
    data = demo.config.data.model_copy(update={"tokenizer": str(file), "end_of_text": end_of_text})
    small = smoke(replace(demo, config=demo.config.model_copy(update={"data": data}))).config
    assert len(open_corpus(small.data, vocab_size=257, long_min_tokens=20).train)


def test_settings_that_have_no_effect_or_no_meaning() -> None:
    base = {
        "name": "x",
        "method": "gpt",
        "model": {"vocab_size": 9, "num_layers": 1, "num_heads": 1, "d_model": 2},
    }
    for data, said in (
        ({"tokenizer": "gpt-2"}, "given 'gpt-2'; did you mean 'gpt2'?, or the path of a tokenizer.json"),
        ({"end_of_text": "</s>"}, "the bytes tokenizer has its own; leave it out"),
    ):
        with pytest.raises(ConfigError, match=r"data.") as caught:
            parse({**base, "data": data}, origin="a test")
        assert said in str(caught.value)
