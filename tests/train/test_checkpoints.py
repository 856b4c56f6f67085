"""Checkpoints: whole or absent, verified on reading, and always one to fall back to."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ngptlab.config import RunConfig
from ngptlab.errors import CheckpointError
from ngptlab.experiment import train
from ngptlab.train import checkpoint as checkpoints
from ngptlab.train.checkpoint import list_checkpoints, read_checkpoint, resume, save_checkpoint
from ngptlab.train.progress import Silent

MakeConfig = Callable[..., RunConfig]
FILES = ("manifest.json", "model.safetensors", "optimizer.safetensors")


class Toy:
    """A small model with an optimizer that can be taken a step further."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = nn.Linear(3, 2)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)

    def step(self) -> None:
        self.model(torch.ones(1, 3)).square().sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def save(self, folder: Path, step: int, **changes: Any) -> Path:
        given = {"config_hash": "abc", "model": self.model, "optimizer": self.optimizer, "keep": 2}
        return save_checkpoint(folder, step=step, **{**given, **changes})

    def resume(self, folder: Path, warn: Callable[[str], None] = lambda text: None, key: str = "abc") -> int:
        return resume(folder, config_hash=key, model=self.model, optimizer=self.optimizer, warn=warn)

    def tensors(self) -> list[Tensor]:
        states = [self.optimizer.state.get(p, {}) for p in self.model.parameters()]
        moments = [state[key] for state in states for key in sorted(state)]
        return [t.detach().clone() for t in (*self.model.parameters(), *moments)]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def two(folder: Path) -> dict[int, list[Tensor]]:
    """Checkpoints of steps 1 and 2; what is in each."""
    toy, held = Toy(), {}
    for step in (1, 2):
        toy.step()
        toy.save(folder, step)
        held[step] = toy.tensors()
    return held


def test_round_trip_and_the_next_step_after_it(folder: Path) -> None:
    toy = Toy()
    toy.step()
    path = toy.save(folder, 1)
    assert path == folder / "step_000001"
    assert sorted(entry.name for entry in path.iterdir()) == list(FILES)
    assert sorted(entry.name for entry in folder.iterdir()) == ["step_000001"]
    fresh = Toy(seed=1)
    assert fresh.resume(folder) == 1
    assert same(fresh.tensors(), toy.tensors())
    toy.step()
    fresh.step()
    assert same(fresh.tensors(), toy.tensors())


def test_nothing_to_resume(folder: Path) -> None:
    toy = Toy()
    before = toy.tensors()
    assert toy.resume(folder) == 0
    folder.mkdir()
    assert toy.resume(folder) == 0
    assert same(toy.tensors(), before)


def test_newest_are_kept_in_order_of_number(folder: Path) -> None:
    toy = Toy()
    for step in (8, 9, 10, 1_000_000):
        toy.save(folder, step)
    assert [path.name for path in list_checkpoints(folder)] == ["step_000010", "step_1000000"]
    toy.save(folder, 1_000_001, keep=3)
    assert len(list_checkpoints(folder)) == 3
    assert toy.resume(folder) == 1_000_001


def test_new_checkpoint_outlives_damaged_later_ones(folder: Path) -> None:
    """What was just written is never what retention removes."""
    toy = Toy()
    for step in (1, 5, 6):
        toy.step()
        toy.save(folder, step, keep=3)
    for step in (5, 6):
        (folder / f"step_{step:06d}" / "manifest.json").unlink()
    fresh = Toy()
    assert fresh.resume(folder) == 1
    fresh.step()
    assert fresh.save(folder, 2).exists()
    assert Toy().resume(folder) == 2


def fail_nth(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, nth: int, number: int) -> None:
    """The n-th call from now on fails with an OSError, and all after it."""
    original, calls = getattr(owner, name), [0]

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] >= nth:
            raise OSError(number, os.strerror(number))
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)


FAULTS = [
    *[(checkpoints, "_write", nth) for nth in (1, 2, 3)],
    *[(os, "fsync", nth) for nth in (1, 2, 3, 4)],
    (Path, "mkdir", 1),
    (Path, "rename", 1),
]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("owner, name, nth", FAULTS, ids=[f"{name}-{nth}" for _, name, nth in FAULTS])
def test_fault_while_saving(
    owner: Any, name: str, nth: int, number: int, folder: Path, two: dict[int, list[Tensor]]
) -> None:
    toy = Toy()
    toy.resume(folder)
    toy.step()
    with pytest.MonkeyPatch.context() as patch:
        fail_nth(patch, owner, name, nth, number)
        with pytest.raises(CheckpointError) as caught:
            toy.save(folder, 3)
    message = str(caught.value)
    assert os.strerror(number) in message and f"{folder}" in message and "\n" not in message
    assert sorted(entry.name for entry in folder.iterdir()) == ["step_000001", "step_000002"]
    fresh = Toy(seed=1)
    assert fresh.resume(folder) == 2
    assert same(fresh.tensors(), two[2])
    toy.save(folder, 3)  # and once there is room, it goes on
    assert fresh.resume(folder) == 3


def test_leftovers_of_a_kill_are_not_read(folder: Path, two: dict[int, list[Tensor]]) -> None:
    left = folder / f".step_000003.{'0' * 16}.tmp"
    shutil.copytree(folder / "step_000002", left)
    os.utime(left, (1, 1))
    (folder / "step_notes").mkdir()
    toy = Toy()
    assert toy.resume(folder) == 2
    toy.step()
    toy.save(folder, 3)
    assert not left.exists()


def test_files_are_on_disk_before_they_are_published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, Path.rename
    link = "/proc/self/fd/{}"

    def traced_fsync(descriptor: int) -> None:
        name = Path(os.readlink(link.format(descriptor))).name
        events.append(f"fsync {name.split('.')[1] if name.startswith('.') else name}")
        fsync(descriptor)

    def traced_rename(self: Path, target: Path) -> Path:
        events.append(f"rename {Path(target).name}")
        return rename(self, target)

    if not Path(link.format(0)).parent.exists():
        pytest.skip("needs a /proc")
    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(Path, "rename", traced_rename)
    Toy().save(folder, 7)
    assert events == [
        f"fsync {folder.parent.name}",  # of the folder of checkpoints itself, which is new
        "fsync model.safetensors",
        "fsync optimizer.safetensors",
        "fsync manifest.json",
        "fsync step_000007",
        "rename step_000007",
        "fsync checkpoints",
    ]


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def manifest_of(path: Path) -> dict[str, Any]:
    """As it was before manifests had a digest of their own, so that other checks are what refuses a change."""
    manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text())
    del manifest["sha256"]
    return manifest


def other_step(path: Path) -> None:
    manifest = manifest_of(path)
    manifest["step"] -= 1
    (path / "manifest.json").write_text(json.dumps(manifest))


def manifest_becomes(text: str) -> Callable[[Path], object]:
    return lambda path: (path / "manifest.json").write_text(text)


def empty_folder(path: Path) -> None:
    for entry in path.iterdir():
        entry.unlink()


def without_field(field: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        manifest = manifest_of(path)
        del manifest[field]
        (path / "manifest.json").write_text(json.dumps(manifest))

    return damage


def no_files_listed(path: Path) -> None:
    (path / "manifest.json").write_text(json.dumps({**manifest_of(path), "files": {}}))


def another_size(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["model.safetensors"]["bytes"] += 1
    (path / "manifest.json").write_text(json.dumps(manifest))


DAMAGES: dict[str, Callable[[Path], object]] = {
    **{f"first byte of {name}": lambda path, name=name: flip(path / name, 0) for name in FILES},
    **{f"last byte of {name}": lambda path, name=name: flip(path / name, -2) for name in FILES},
    **{f"truncated {name}": lambda path, name=name: os.truncate(path / name, 20) for name in FILES},
    **{f"emptied {name}": lambda path, name=name: os.truncate(path / name, 0) for name in FILES},
    **{f"deleted {name}": lambda path, name=name: (path / name).unlink() for name in FILES},
    **{f"no {field}": without_field(field) for field in ("format", "step", "config_hash", "files")},
    "no files listed": no_files_listed,
    "empty folder": empty_folder,
    "another step": other_step,
    "another size in the manifest": another_size,
    "a list for a manifest": manifest_becomes("[]"),
    "bytes for a manifest": lambda path: (path / "manifest.json").write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_damaged_newest(damage: Callable[[Path], object], folder: Path, two: dict[int, list[Tensor]]) -> None:
    newest = folder / "step_000002"
    damage(newest)
    told: list[str] = []
    toy = Toy(seed=1)
    assert toy.resume(folder, told.append) == 1
    assert same(toy.tensors(), two[1])
    assert len(told) == 1 and str(newest) in told[0] and "\n" not in told[0]
    with pytest.raises(CheckpointError, match="step_000002"):
        read_checkpoint(newest)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_all_damaged(damage: Callable[[Path], object], folder: Path, two: dict[int, list[Tensor]]) -> None:
    for path in list_checkpoints(folder):
        damage(path)
    with pytest.raises(CheckpointError, match="no sound checkpoint among 2"):
        Toy().resume(folder)


def test_any_changed_byte_of_a_manifest(folder: Path, two: dict[int, list[Tensor]]) -> None:
    """Never another error than ours, never other weights than one of the two."""
    newest = folder / "step_000002"
    whole = (newest / "manifest.json").read_bytes()
    wrong = []
    for at in range(len(whole)):
        flip(newest / "manifest.json", at)
        toy = Toy(seed=1)
        try:
            step = toy.resume(folder)
            assert same(toy.tensors(), two[step])
        except CheckpointError:
            pass
        except Exception as error:
            wrong.append((at, whole[max(0, at - 5) : at + 5], type(error).__name__))
        (newest / "manifest.json").write_bytes(whole)
    assert not wrong


def test_checkpoint_of_another_run(folder: Path, two: dict[int, list[Tensor]]) -> None:
    with pytest.raises(CheckpointError, match="belongs to run abc, not xyz"):
        Toy().resume(folder, key="xyz")


def test_checkpoint_of_another_model(folder: Path, two: dict[int, list[Tensor]]) -> None:
    toy = Toy()
    toy.model = nn.Linear(4, 2)
    toy.optimizer = torch.optim.AdamW(toy.model.parameters())
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        toy.resume(folder)
    assert "\n" not in str(caught.value)


class Teller(Silent):
    """Keeps the notes; crashes at a step."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, step: int, **facts: float) -> None:
        if step == self.at:
            raise KeyError("a crash")


@pytest.mark.parametrize("name", ["first byte of model.safetensors", "deleted manifest.json", "another step"])
def test_run_goes_on_from_the_one_before(
    name: str, make_config: MakeConfig, outcome: Callable[[Path], dict[str, bytes]], tmp_path: Path
) -> None:
    config, out = make_config(), tmp_path / "run"
    straight = train(config, tmp_path / "straight")
    with pytest.raises(KeyError):
        train(config, out, reporter=Teller(7))
    DAMAGES[name](out / "checkpoints" / "step_000006")
    teller = Teller()
    train(config, out, reporter=teller)
    assert any("step_000006" in note and "falling back" in note for note in teller.notes)
    assert "goes on after step 3" in teller.notes
    assert outcome(out) == outcome(straight.path)


def test_run_without_a_sound_checkpoint(make_config: MakeConfig, tmp_path: Path) -> None:
    config, out = make_config(), tmp_path / "run"
    with pytest.raises(KeyError):
        train(config, out, reporter=Teller(7))
    for path in list_checkpoints(out / "checkpoints"):
        empty_folder(path)
    before = (out / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match="no sound checkpoint"):
        train(config, out)
    assert (out / "metrics.jsonl").read_bytes() == before


def test_disk_full_in_a_run(
    make_config: MakeConfig, outcome: Callable[[Path], dict[str, bytes]], tmp_path: Path
) -> None:
    config, out = make_config(), tmp_path / "run"
    straight = train(config, tmp_path / "straight")
    with pytest.MonkeyPatch.context() as patch:
        fail_nth(patch, checkpoints, "_write", 4, errno.ENOSPC)
        with pytest.raises(CheckpointError, match="No space left"):
            train(config, out)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step_000003"]
    assert json.loads((out / "summary.json").read_text())["status"] == "failed"
    assert outcome(train(config, out).path) == outcome(straight.path)
