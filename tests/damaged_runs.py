"""Runs that were trained once, to be copied by a test, and ways to damage what they recorded."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from made_runs import config_of
from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.experiment import train
from ngptlab.runs import Run
from ngptlab.train.progress import Silent

Damage = Callable[[bytes], bytes | None]
"""The content of a stream as it is to become; None: removed."""


class Break(Exception):
    """Stands for a kill."""


class Teller(Silent):
    """Keeps the notes; ends the training after a step."""

    def __init__(self, last: int = 0) -> None:
        self.last = last
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, step: int, **facts: float) -> None:
        if step == self.last:
            raise Break


class Trained:
    """One run trained to its end, the same killed after step 7, and another of another seed; copied by each test."""

    def __init__(self, folder: Path) -> None:
        self.folder, draw = folder, random.Random(0)
        (folder / "texts").mkdir()
        for number in range(30):
            text = " ".join(draw.choices(("the", "cat", "sat", "on", "mats", "under", "red", "stars"), k=60))
            (folder / "texts" / f"{number}.txt").write_text(text)
        self.config = self.config_of()
        train(self.config, folder / "straight")
        train(self.config_of(seed=1), folder / "other")
        with pytest.raises(Break):
            train(self.config, folder / "killed", reporter=Teller(7))

    def config_of(self, **changes: object) -> RunConfig:
        # A method with scales has something in every stream.
        sections: dict[str, object] = {
            "model": {"vocab_size": 257, "num_layers": 1, "num_heads": 2, "d_model": 16},
            "data": {"source": f"text:{self.folder / 'texts'}", "val_share": 0.2, "long_share": 0.3},
            "schedule": {"warmup_steps": 2},
            "train": {"batch_size": 4, "context": 16},
            "eval": {"every": 3, "val_tokens": 64, "length_factor": 2, "length_documents": 3},
            "checkpoint": {"every": 3},
            "device": {"kind": "cpu", "threads": 1},
            **changes,
        }
        return methods.resolve(config_of("ngpt", steps=8, **sections))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """See there."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NGPTLAB_CACHE", str(folder / "cache"))
        return Trained(folder)


def lines_of(content: bytes) -> list[bytes]:
    return content.splitlines(keepends=True)


def with_line(number: int, line: bytes) -> Damage:
    return lambda content: b"".join([*lines_of(content)[: number - 1], line, *lines_of(content)[number:]])


def without_line(number: int) -> Damage:
    return with_line(number, b"")


def top_bit_of_line(number: int) -> Damage:
    def damage(content: bytes) -> bytes:
        line = lines_of(content)[number - 1]
        return with_line(number, bytes([line[0], line[1] ^ 0x80]) + line[2:])(content)

    return damage


def digit_of_line(number: int) -> Damage:
    """The last digit of a number, so that all is as it should be but for its value."""

    def damage(content: bytes) -> bytes:
        line = lines_of(content)[number - 1]
        at = max(place for place, byte in enumerate(line) if chr(byte).isdigit())
        digit = b"1" if line[at : at + 1] != b"1" else b"2"
        return with_line(number, line[:at] + digit + line[at + 1 :])(content)

    return damage


def nan_in_line(number: int) -> Damage:
    def damage(content: bytes) -> bytes:
        record = json.loads(lines_of(content)[number - 1])
        key = next(key for key in ("loss_nats", "step_seconds", "scales") if key in record)
        text = json.dumps({**record, key: float("nan")})
        return with_line(number, text.encode() + b"\n")(content)

    return damage


def damage(run: Run, stream: str, how: Damage) -> None:
    """Put what `how` makes of a stream in its place."""
    path = run.path_of(stream)
    content = how(path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)
