"""`hf:DATASET`: what is streamed is what files would give, a commit is pinned, and a resume leaves out finished parts."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_server import COMMIT, OTHER, Hub, running
from stand_ins import Killed

import ngptlab
from ngptlab.config import DataConfig
from ngptlab.data.corpus import open_corpus
from ngptlab.data.prepare import text_to_shards as prepare_module
from ngptlab.data.prepare.out_folder import prepare_out_folder
from ngptlab.data.shards.writer import ShardWriter
from ngptlab.data.text import sources
from ngptlab.data.text.dataset_stream import DatasetStream
from ngptlab.errors import DataError

extra = [
    pytest.mark.extra,
    pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="needs ngptlab[data]"),
    pytest.mark.filterwarnings("default"),  # of `datasets` and what it loads
]


def lines(texts: list[str], column: str = "text") -> bytes:
    return "".join(json.dumps({column: text, "id": n}) + "\n" for n, text in enumerate(texts)).encode()


def texts_of(part: int) -> list[str]:
    return [f"part {part}, text {number} " + "word " * (number % 5) for number in range(20)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of four files."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    place = tmp_path / "books"
    place.mkdir()
    for part in range(4):
        (place / f"train-{part}.jsonl").write_bytes(lines(texts_of(part)))
    return place


def made(place: str, out: Path, split: str = "", revision: str = "") -> dict[str, bytes]:
    source = sources.find(place, split=split, revision=revision)
    prepare_out_folder(DataConfig(val_share=0.2), out, long_min_tokens=8192, workers=1, source=source)
    return {path.name: path.read_bytes() for path in out.glob("*.bin")}


def failure(call: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestFolder:
    pytestmark = extra

    def test_it_is_read_as_its_files_are(self, folder: Path, tmp_path: Path) -> None:
        assert made(f"hf:{folder}", tmp_path / "streamed") == made(f"text:{folder}", tmp_path / "read")
        manifest = json.loads((tmp_path / "streamed" / "manifest.json").read_text())
        assert manifest["source"] == "hf:books, train"

    def test_parts_are_files_and_can_be_read_alone(self, folder: Path) -> None:
        source = DatasetStream(str(folder))
        assert source.num_parts == 4
        for part in (2, 0):
            assert [document.text for document in source.read(part)] == texts_of(part)
            assert source.share_read() == (part + 1) / 4

    def test_rows_without_text_are_no_documents(self, folder: Path) -> None:
        (folder / "train-1.jsonl").write_text('{"text": null, "id": 1}\n{"text": "x", "id": 2}\n')
        assert [document.name for document in DatasetStream(str(folder)).read(1)] == ["1:2"]

    @pytest.mark.parametrize("calls", [0, 3, 15, 18])
    def test_a_killed_one_goes_on_behind_the_parts_that_are_done(
        self, folder: Path, tmp_path: Path, calls: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prepare_module, "BATCH_BYTES", 100)
        monkeypatch.setattr(prepare_module, "SAVE_BYTES", 200)
        straight = made(f"hf:{folder}", tmp_path / "straight")
        real, left = ShardWriter.write, [calls]

        def write(self: ShardWriter, tokens: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            real(self, tokens)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ShardWriter, "write", write)
            with pytest.raises(Killed):
                made(f"hf:{folder}", tmp_path / "out")
        part, _ = json.loads((tmp_path / "out" / "progress.json").read_text())["position"]
        read: list[int] = []
        once = DatasetStream.read
        monkeypatch.setattr(DatasetStream, "read", lambda self, part: read.append(part) or once(self, part))
        assert made(f"hf:{folder}", tmp_path / "out") == straight
        assert read == list(range(part, 4)) and (part > 0) == (calls > 10)

    def test_what_is_said(self, folder: Path, tmp_path: Path) -> None:
        assert "Available splits: ['train']" in failure(lambda: DatasetStream(str(folder), split="test"))
        assert "is a folder, which has no revisions" in failure(
            lambda: DatasetStream(str(folder), revision="v1")
        )
        source = DatasetStream(str(folder), column="content")
        assert "row 1 of part 1: columns ['id', 'text'], none is 'content'" in failure(
            lambda: list(source.read(0))
        )
        source = DatasetStream(str(folder), column="id")
        assert "'id' holds int, not text; name another --column" in failure(lambda: list(source.read(0)))
        (folder / "train-3.jsonl").write_text("{")
        assert "hf:" in failure(lambda: list(DatasetStream(str(folder)).read(3)))
        (tmp_path / "empty").mkdir()
        assert "can't be read" in failure(lambda: DatasetStream(str(tmp_path / "empty")))

    def test_the_fingerprint_follows_what_is_read(self, folder: Path) -> None:
        seen = {
            DatasetStream(str(folder)).fingerprint(),
            DatasetStream(str(folder), column="id").fingerprint(),
        }
        (folder / "train-0.jsonl").write_bytes(lines(["other"]))
        assert len(seen | {DatasetStream(str(folder)).fingerprint()}) == 3


def command(url: str, home: Path, *arguments: object, script: str = "") -> subprocess.CompletedProcess[str]:
    """`ngptlab data prepare` in a process of its own, which asks that hub."""
    code = f"import sys; from ngptlab.cli import main\n{script}\nsys.exit(main())"
    words = ["data", "prepare", *map(str, arguments), "--tokenizer", "bytes"]
    package = Path(ngptlab.__file__).parents[1]
    settings = {"HF_ENDPOINT": url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(package)}
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=200,
    )


class TestHub:
    pytestmark = extra

    def test_a_commit_is_pinned_and_a_kill_costs_no_second_download(self, tmp_path: Path) -> None:
        old = {f"train-{part}.jsonl": lines(texts_of(part)) for part in range(4)}
        new = {"train-0.jsonl": lines(["new", "newer"])}
        hub = Hub(files={"lab/texts": old}, other={"lab/texts": new}, heads={"main": COMMIT, "v1": COMMIT})
        texts, out = tmp_path / "texts", tmp_path / "out"
        texts.mkdir()
        for name, raw in old.items():
            (texts / name).write_bytes(raw)
        killed = (
            "from ngptlab.data.prepare import text_to_shards as prepare\n"
            "from ngptlab.data.shards import writer\nimport os\nprepare.BATCH_BYTES, prepare.SAVE_BYTES = 100, 200\n"
            "write, left = writer.ShardWriter.write, [28]\n"
            "def counted(*a):\n    left[0] -= 1\n    write(*a) if left[0] else os._exit(9)\n"
            "writer.ShardWriter.write = counted"
        )
        with running(hub):
            url = hub.endpoint
            arguments = ["hf:lab/texts", "--out", out, "--val-share", 0.2]
            assert command(url, tmp_path / "hf", *arguments, script=killed).returncode == 9
            part, _ = json.loads((out / "progress.json").read_text())["position"]
            assert part > 1
            before = Counter(name for name, _ in hub.downloads())
            hub.heads["main"] = OTHER  # somebody pushes meanwhile
            done = command(url, tmp_path / "hf", *arguments)
            assert done.returncode == 2 and "begun from other text" in done.stderr
            done = command(url, tmp_path / "hf", *arguments, "--revision", "v1")
            assert done.returncode == 0, done.stderr
            after = Counter(name for name, _ in hub.downloads())
            for number in range(1, part):  # `datasets` looks into the first file, whatever is read
                assert after[f"train-{number}.jsonl"] == before[f"train-{number}.jsonl"] > 0
            done = command(url, tmp_path / "hf", "hf:lab/texts", "--out", tmp_path / "x", "--revision", "v9")
            assert done.returncode == 2 and "RevisionNotFound" in done.stderr and done.stderr.count("\n") == 1
        shards = {path.name: path.read_bytes() for path in out.glob("*.bin")}
        assert shards == made(f"text:{texts}", tmp_path / "straight")
        assert (
            json.loads((out / "manifest.json").read_text())["source"]
            == f"hf:lab/texts, train of {COMMIT[:12]}"
        )


def test_without_datasets_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "needs the datasets library; pip install 'ngptlab[data]'" in failure(
        lambda: DatasetStream(str(folder))
    )
    assert "names no data set" in failure(lambda: DatasetStream(""))


def test_a_run_is_told_to_prepare_it_first(cache: Path) -> None:
    data = DataConfig(source="hf:lab/texts")
    said = failure(lambda: open_corpus(data, vocab_size=257, long_min_tokens=10))
    assert "`ngptlab data prepare hf:lab/texts --out DIR`, then --data.source shards:DIR" in said


def test_other_sources_have_no_splits() -> None:
    assert "stdlib has no splits and no revisions" in failure(lambda: sources.find("stdlib", split="test"))


@pytest.mark.timeout(60)
def test_a_fifo_in_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a"}) + "\n")
    os.mkfifo(tmp_path / "b.jsonl")
    with pytest.raises(DataError, match=r"b\.jsonl: a FIFO, not a regular file; remove it"):
        sources.find(f"hf:{tmp_path}")
