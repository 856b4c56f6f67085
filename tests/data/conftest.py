"""Small corpora; their cache is that of every test."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import settings

from ngptlab.config import DataConfig
from ngptlab.data.corpus import Corpus, open_corpus
from ngptlab.errors import DataError

# A busy machine is no failure: the first call of an example may wait for a core longer than any deadline.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[[Iterable[str] | int], Path]:
    """Write texts, or so many different ones, as 0000.txt, 0001.txt, ... of a folder."""

    def make(texts: Iterable[str] | int) -> Path:
        if isinstance(texts, int):
            texts = [f"text {number}: " + "word " * (number % 20) for number in range(texts)]
        folder = tmp_path / "texts"
        folder.mkdir()
        for number, text in enumerate(texts):
            (folder / f"{number:04d}.txt").write_bytes(text.encode())
        return folder

    return make


@pytest.fixture
def prepared() -> Callable[..., Corpus]:
    """Open the corpus of a file or folder; documents of 40 bytes may be long ones."""

    def prepare(path: Path, *, vocab_size: int = 257, long_min_tokens: int = 40, **fields: object) -> Corpus:
        data = DataConfig.model_validate({"source": f"text:{path}", **fields})
        return open_corpus(data, vocab_size=vocab_size, long_min_tokens=long_min_tokens)

    return prepare


@pytest.fixture
def failure(prepared: Callable[..., Corpus]) -> Callable[..., str]:
    """Open a corpus that can't be opened; what is said, in one line."""

    def fail(path: Path, **fields: object) -> str:
        with pytest.raises(DataError) as caught:
            prepared(path, **fields)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return fail
