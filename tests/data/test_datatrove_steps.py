"""Encoding on many machines: the shards of `data prepare`, byte for byte, however the work was shared."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ngptlab.config import DataConfig
from ngptlab.data.prepare.datatrove_steps import steps
from ngptlab.data.prepare.out_folder import prepare_out_folder
from ngptlab.errors import DataError

DOCUMENTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=60), min_size=2, max_size=30)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def config(folder: Path) -> DataConfig:
    return DataConfig(source=f"text:{folder}", val_share=0.2, long_share=0.3)


def write(folder: Path, texts: list[str]) -> None:
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number:03d}.txt").write_bytes(text.encode())


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    write(folder, [f"text {number % 70} " + "é" * (number % 70) for number in range(90)])
    return folder


@settings(max_examples=25)
@given(texts=DOCUMENTS, num_ranks=st.integers(1, 6))
def test_any_number_of_ranks_writes_what_prepare_writes(texts: list[str], num_ranks: int) -> None:
    """Also with copies across ranks, ranks without documents, and fewer documents than splits."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        write(base / "texts", [*texts, texts[0]])
        if len({text for text in texts if text.strip()}) == 1:
            return  # `prepare` cuts it, several machines don't
        encode, merge = steps(config(base / "texts"), base / "out", base / "scratch", long_min_tokens=20)
        for rank in reversed(range(num_ranks)):
            encode(None, rank, num_ranks)
        try:
            prepare_out_folder(config(base / "texts"), base / "straight", long_min_tokens=20, workers=1)
        except DataError as expected:  # too few different documents
            with pytest.raises(DataError) as caught:
                merge()
            assert str(caught.value) == str(expected)
            return
        merge()
        assert files_of(base / "out") == files_of(base / "straight")
        merge()  # done already


def test_a_rank_that_is_done_is_not_done_again(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, merge = steps(config(texts), tmp_path / "out", tmp_path / "scratch")
    encode(None, 1, 2)
    with pytest.raises(DataError, match="rank 0 of 2 isn't done"):
        merge()
    record = tmp_path / "scratch" / "block_00001_of_00002.json"
    time = record.stat().st_mtime_ns
    for rank in range(2):
        encode(None, rank, 2)
    assert record.stat().st_mtime_ns == time
    (texts / "000.txt").write_text("changed since")
    with pytest.raises(DataError, match="no block of this source and tokenizer"):
        merge()
    encode(None, 0, 2)
    with pytest.raises(DataError, match="rank 1 of 2 isn't done"):
        merge()
    encode(None, 1, 2)
    encode(None, 0, 1)
    with pytest.raises(DataError, match=r"blocks of \[1, 2\] ranks"):
        merge()


def test_folders_of_others_are_left_alone(texts: Path, tmp_path: Path) -> None:
    encode, merge = steps(config(texts), tmp_path / "out", tmp_path / "scratch")
    encode()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "train_000000.bin").write_text("another's")
    with pytest.raises(DataError, match="give a folder that isn't there yet"):
        merge()
    assert (tmp_path / "out" / "train_000000.bin").read_text() == "another's"


@pytest.mark.extra
@pytest.mark.filterwarnings("default")  # datatrove's own processes and files
def test_by_the_local_executor(texts: Path, tmp_path: Path) -> None:
    executor = pytest.importorskip("datatrove.executor", reason="needs ngptlab[datatrove]")
    encode, merge = steps(config(texts), tmp_path / "out", tmp_path / "scratch", long_min_tokens=60)
    logs = str(tmp_path / "logs")
    first = executor.LocalPipelineExecutor([encode], tasks=3, workers=2, logging_dir=f"{logs}/encode")
    executor.LocalPipelineExecutor([merge], tasks=1, depends=first, logging_dir=f"{logs}/merge").run()
    prepare_out_folder(config(texts), tmp_path / "straight", long_min_tokens=60, workers=1)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "straight")
