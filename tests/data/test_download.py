"""`data get` against a hub on loopback: every request and every failure is a real one, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_server import COMMIT, Hub, running
from stand_ins import shard

from ngptlab.config import DataConfig
from ngptlab.data.corpus import open_corpus
from ngptlab.data.prepare.progress import describe_download
from ngptlab.data.shards.hub import _counter
from ngptlab.data.shards.manifest import MANIFEST, read_manifest
from ngptlab.errors import DataError

REPOSITORY = "kjj0/fineweb10B-gpt2"
VAL = "fineweb_val_000000.bin"
EOT = 256
# Bytes instead of GPT-2's tokens, whose table would have to be fetched; and a set of four training shards.
COMMAND = """
import sys
from ngptlab.data.shards import published
from ngptlab.cli import main
published.PUBLISHED["fineweb10B"] = published.PUBLISHED["fineweb10B"]._replace(tokenizer="bytes", num_train=4)
sys.exit(main(sys.argv[1:]))
"""


def train(number: int) -> str:
    return f"fineweb_train_{number:06d}.bin"


@pytest.fixture
def hub() -> Iterator[Hub]:
    files = {VAL: shard([EOT, *range(50)])}
    files |= {train(number): shard([EOT, *([number] * 3000)]) for number in range(1, 5)}
    with running(Hub(files={REPOSITORY: files})) as served:
        yield served


class Got:
    """What a command said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def error(self) -> str:
        """Its one line of error."""
        assert self.code == 2, self.err
        lines = [line for line in self.err.splitlines() if line.startswith("ngptlab: ")]
        assert len(lines) == 1 and self.err.splitlines()[-1] == lines[0], self.err
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def start(hub: Hub, tmp_path: Path, cache: Path) -> Callable[..., subprocess.Popen[str]]:
    """The command in a process: the library reads its environment once, when it is imported."""

    def begin(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        settings = {
            **os.environ,
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "NO_PROXY": "127.0.0.1",
            **environment,
        }
        folder = str(tmp_path / "out")
        command = [sys.executable, "-c", COMMAND, "data", "get", "fineweb10B", "--out", folder, *arguments]
        return subprocess.Popen(
            command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return begin


@pytest.fixture
def get(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Got]:
    def run(*arguments: str, **environment: str) -> Got:
        process = start(*arguments, **environment)
        out, err = process.communicate(timeout=120)
        return Got(process.returncode, out, err)

    return run


def test_a_full_download(hub: Hub, get: Callable[..., Got], tmp_path: Path) -> None:
    """Also: pinned to the commit that the branch named."""
    out = tmp_path / "out"
    got = get("--shards", "2")
    assert got.code == 0, got.err
    assert hub.downloads() == [(VAL, ""), (train(1), ""), (train(2), "")]
    assert all(f"/resolve/{COMMIT}/" in path for _, path, _ in hub.log if "/resolve/" in path)
    assert f"{REPOSITORY} at {COMMIT}" in got.err and "% of 0.0 MB" in got.err
    assert f"--data.source shards:{out} --data.tokenizer bytes" in got.out
    assert read_manifest(out / MANIFEST, "").splits["train"].tokens == 6002
    assert {path.name: path.read_bytes() for path in out.glob("*.bin")} == {
        name: hub.files[REPOSITORY][name] for name in (VAL, train(1), train(2))
    }
    corpus = open_corpus(DataConfig(source=f"shards:{out}"), vocab_size=257, long_min_tokens=10)
    assert corpus.train.window(3000, 3).tolist() == [1, EOT, 2]
    cache = tmp_path / "hf" / "hub" / f"datasets--{REPOSITORY.replace('/', '--')}"
    assert all(
        path.readlink().is_relative_to(cache) for path in out.glob("*.bin")
    )  # HF_HOME holds the one copy


@pytest.mark.slow
def test_more_shards_later_and_elsewhere(hub: Hub, get: Callable[..., Got], tmp_path: Path) -> None:
    """The manifest grows as if all had come at once; another folder is filled from the hub's cache, offline."""
    assert get("--shards", "1").code == 0
    hub.log.clear()
    assert get("--shards", "1").code == 0
    assert hub.downloads() == []
    assert get().code == 0
    assert [name for name, _ in hub.downloads()] == [train(2), train(3), train(4)]
    grown = (tmp_path / "out" / MANIFEST).read_text()
    hub.log.clear()
    got = get("--out", str(tmp_path / "other" / "out"), HF_HUB_OFFLINE="1")
    assert got.code == 0, got.err
    assert hub.log == []
    assert (tmp_path / "other" / "out" / MANIFEST).read_text() == grown


@pytest.mark.slow
def test_a_broken_connection_is_taken_up_where_it_broke(
    hub: Hub, get: Callable[..., Got], tmp_path: Path
) -> None:
    chunk = 10 * 2**20  # what the library takes at a time
    hub.files[REPOSITORY][train(1)] = shard([EOT, *([7] * 12 * 2**20)])
    hub.cut[train(1)] = [chunk + 1000, chunk + 1000]
    got = get("--shards", "1")
    assert got.code == 0, got.err
    spans = [span for name, span in hub.downloads() if name == train(1)]
    assert spans == ["", f"bytes={chunk}-", f"bytes={2 * chunk}-"]
    assert (tmp_path / "out" / train(1)).read_bytes() == hub.files[REPOSITORY][train(1)]


@pytest.mark.slow
def test_the_same_command_goes_on(hub: Hub, get: Callable[..., Got], tmp_path: Path) -> None:
    """The hub goes away in the middle of the second training shard: only that one and what follows come again."""
    hub.cut[train(2)] = [2000, *[0] * 10]
    assert "can't be fetched" in get("--shards", "3").error
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == [train(1), VAL]
    assert not list((tmp_path / "hf").rglob("*.incomplete"))
    hub.cut.clear()
    hub.log.clear()
    got = get("--shards", "3")
    assert got.code == 0, got.err
    assert hub.downloads() == [(train(2), ""), (train(3), "")]


@pytest.mark.slow
def test_a_kill_in_the_middle(
    hub: Hub, start: Callable[..., subprocess.Popen[str]], get: Callable[..., Got], tmp_path: Path
) -> None:
    hub.stall.add(train(2))
    process = start("--shards", "3")
    assert hub.stalled.wait(60)
    process.kill()
    process.communicate()
    hub.stall.clear()
    hub.log.clear()
    assert get("--shards", "3").code == 0
    assert hub.downloads() == [(train(2), ""), (train(3), "")]


def corrupt(hub: Hub) -> None:
    content = bytearray(hub.files[REPOSITORY][train(2)])
    content[3000] ^= 1
    hub.served[train(2)] = bytes(content)


def truncate(hub: Hub) -> None:
    hub.served[train(2)] = hub.files[REPOSITORY][train(2)][:-100]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (corrupt, "what came has another SHA-256 than the hub says, so it was thrown away"),
        (truncate, "Consistency check failed: file should be of size"),
    ],
)
def test_what_is_not_the_hubs_is_not_kept(
    hub: Hub, get: Callable[..., Got], tmp_path: Path, spoil: Callable[[Hub], None], said: str
) -> None:
    spoil(hub)
    error = get("--shards", "3").error
    assert f"{REPOSITORY}/{train(2)}: " in error and said in error and "the same command goes on" in error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [train(1), VAL]
    hub.served.clear()
    hub.log.clear()
    assert get("--shards", "3").code == 0
    assert hub.downloads() == [(train(2), ""), (train(3), "")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>" * 1000, "not a shard, wrong magic number"),
        pytest.param(b"<html>", "truncated, 6 bytes are less than a shard's header", marks=pytest.mark.slow),
        pytest.param(shard([EOT, 1, 2])[:-2], "truncated, 1028 bytes where 3 tokens", marks=pytest.mark.slow),
    ],
)
def test_what_is_no_shard(
    hub: Hub, get: Callable[..., Got], tmp_path: Path, content: bytes, said: str
) -> None:
    hub.files[REPOSITORY][train(1)] = content
    error = get("--shards", "1").error
    assert f"{REPOSITORY}/{train(1)}: the hub's own file is no good" in error
    assert said in error and "give another --revision" in error
    assert [path.name for path in (tmp_path / "out").iterdir()] == [VAL]


def test_tokens_beyond_the_vocabulary(hub: Hub, get: Callable[..., Got], tmp_path: Path) -> None:
    hub.files[REPOSITORY][train(1)] = shard([EOT, 257])
    assert f"{tmp_path / 'out' / train(1)}: holds token 257" in get("--shards", "1").error
    assert not (tmp_path / "out" / MANIFEST).exists()


@pytest.mark.slow
def test_what_the_hub_does_not_have(hub: Hub, get: Callable[..., Got], tmp_path: Path) -> None:
    assert "--shards 5: there are 1 to 4 training shards" in get("--shards", "5").error
    assert "no such revision; give a branch" in get("--revision", "v2").error
    hub.status[train(1)] = 404  # listed, but gone
    assert f"{REPOSITORY}/{train(1)}: the hub lists it and says it is gone" in get("--shards", "1").error
    hub.status[train(1)] = 500
    assert "answers with status 500" in get("--shards", "1").error
    del hub.files[REPOSITORY][train(4)]
    hub.log.clear()
    assert f"has no {train(4)}; give another --revision, or fewer --shards" in get().error
    assert hub.downloads() == []  # said before anything is fetched
    hub.files["other/name"] = hub.files.pop(REPOSITORY)
    assert "has no such dataset, or a private one" in get("--shards", "1").error


@pytest.mark.slow
def test_no_network(hub: Hub, get: Callable[..., Got], tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    error = get("--shards", "1", HF_ENDPOINT=nowhere).error
    assert f"can't be fetched from {nowhere}" in error and "the same command goes on" in error
    assert "HF_HUB_OFFLINE is set; unset it to fetch it" in get("--shards", "1", HF_HUB_OFFLINE="1").error
    assert hub.log == [] and not (tmp_path / "out").exists()
    assert get("--shards", "1").code == 0
    hub.log.clear()
    assert get("--shards", "1", HF_ENDPOINT=nowhere).code == 0  # all is there
    assert f"{train(2)}: not in {tmp_path / 'hf' / 'hub'}" in get("--shards", "2", HF_HUB_OFFLINE="1").error
    assert "can't be fetched" in get("--shards", "2", HF_ENDPOINT=nowhere).error


@pytest.mark.slow
def test_files_that_were_there(hub: Hub, get: Callable[..., Got], tmp_path: Path) -> None:
    """Somebody's own copies are taken if they are the hub's; links into a cache that is gone are made again."""
    out = tmp_path / "out"
    out.mkdir()
    content = hub.files[REPOSITORY][train(1)]
    (out / train(1)).write_bytes(content)
    (out / VAL).symlink_to(tmp_path / "gone")
    assert get("--shards", "1").code == 0
    assert [name for name, _ in hub.downloads()] == [VAL]
    assert not (out / train(1)).is_symlink()
    (out / train(2)).write_bytes(content)  # a shard, but not that one
    error = get("--shards", "2").error
    assert f"{out / train(2)}: has another SHA-256 than the hub says; move it away" in error
    assert (out / train(2)).read_bytes() == content


def test_a_full_disk_is_seen_before(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ngptlab.data.shards import download as module
    from ngptlab.data.shards.hub import RemoteFile, Repository

    monkeypatch.setattr(module, "is_cached", lambda repository, file: file == "a")
    huge = Repository(
        "r", COMMIT, {"a": RemoteFile(10**18, None), "b": RemoteFile(3, None), "c": RemoteFile(4, None)}
    )
    assert module._sizes(huge, ["a", "b", "c"], ["a", "b"]) == (10**18 + 4, 10**18 + 7)
    monkeypatch.setattr(module, "is_cached", lambda repository, file: False)
    with pytest.raises(DataError, match=r"1000000000\.0 GB are to be fetched, .* set HF_HOME"):
        module._sizes(huge, ["a", "b"], ["a", "b"])


def test_progress_in_words() -> None:
    assert describe_download(1_300_000_000, 2_600_000_000, seconds=10, arrived=310_000_000) == (
        "50% of 2,600.0 MB, 31.0 MB/s, 0:00:42 left"
    )
    assert describe_download(0, 2_600_000_000, seconds=0, arrived=0) == "0% of 2,600.0 MB"
    assert describe_download(120_000_000, 0, seconds=4, arrived=124_000_000) == "120.0 MB, 31.0 MB/s"


def test_bytes_through_xet_are_counted_once() -> None:
    """The hub's other way to send files has two bars; it can't be had on loopback, so its reporter is driven here."""
    reporting = pytest.importorskip("huggingface_hub.utils._xet_progress_reporting")
    seen: list[int] = []
    with reporting.XetDownloadProgressReporter(
        reconstruction_desc="", total=100, log_level=20, tqdm_class=_counter(seen.append)
    ) as reporter:
        for done in (40, 100):
            reporter.update_progress(
                SimpleNamespace(
                    total_bytes_completed=done,
                    total_transfer_bytes_completed=done // 2,
                    total_bytes_completion_rate=1.0,
                    total_transfer_bytes_completion_rate=1.0,
                    total_bytes=100,
                )
            )
    assert seen == [40, 60]
