"""One wrong bit in what a run or a corpus is made of, and files cut short or lengthened: each is noticed, or changes nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forking import Lab, Tally, start

from ngptlab.cli import main
from ngptlab.data.shards.manifest import check_digest, check_size, read_manifest
from ngptlab.errors import LabError
from ngptlab.runs import Run
from ngptlab.streams import STREAMS
from ngptlab.train.checkpoint import list_checkpoints, read_checkpoint
from ngptlab.whole import check_finished, sizes_up_to


@dataclass(frozen=True)
class Held:
    """A file, and what looks at it before it is used; that raises a LabError."""

    path: Path
    look: Callable[[], object]
    kind: str


def flips(lab: Lab, tally: Tally, count: int, draw: random.Random) -> None:
    """A random bit of a random file, kinds of files in turn."""
    files = held(lab)
    kinds = sorted({file.kind for file in files})
    while tally.done < count:
        kind = kinds[tally.done % len(kinds)]
        file = draw.choice([each for each in files if each.kind == kind])
        content = file.path.read_bytes()
        place, bit = draw.randrange(len(content)), draw.randrange(8)
        wrong = bytearray(content)
        wrong[place] ^= 1 << bit
        with instead(file.path, content, bytes(wrong)):
            found = noticed(file)
        if found:
            tally.add("", f"in {kind}, noticed")
        elif why := harmless(content, bytes(wrong)):
            tally.add("", f"in {kind}, harmless: {why}")
        else:
            was, became = content[place : place + 1], bytes(wrong[place : place + 1])
            tally.add(f"{file.path.name}, byte {place}, bit {bit}: {was!r} -> {became!r}")


def noticed(file: Held) -> bool:
    """Whether what looks at a file refuses it."""
    try:
        file.look()
    except LabError:
        return True
    return False


def harmless(content: bytes, wrong: bytes) -> str:
    """Why a change makes no difference; empty where it may make one."""
    try:
        before, after = json.loads(content), json.loads(wrong)
    except ValueError:
        return ""
    if before == after:
        return "white space in JSON"
    if isinstance(before, dict) and isinstance(after, dict):
        digest = before.pop("sha256", None)
        if (
            digest is not None
            and digest in after.values()
            and before.items() <= after.items()
            and len(after) == len(before) + 1
        ):
            return "the name of the digest, beside all that it is of"
    return ""


@contextmanager
def instead(path: Path, content: bytes, other: bytes) -> Iterator[None]:
    """Have another content in a file for a while."""
    path.write_bytes(other)
    try:
        yield
    finally:
        path.write_bytes(content)


def held(lab: Lab) -> list[Held]:
    """The files of a finished run, and of a folder of shards."""
    run_path, shards = lab.folder / "flipped" / "run", lab.folder / "flipped" / "shards"
    if not run_path.exists():
        run_path.parent.mkdir()
        texts = str(lab.folder / "texts")
        prepare = [
            "data",
            "prepare",
            texts,
            "--tokenizer",
            "bytes",
            "--val-share",
            "0.2",
            "--out",
            str(shards),
        ]
        assert lab.train(lab.config("ngpt"), run_path).wait() == 0
        assert start(lambda: main(prepare), lab.folder / "prepare.log").wait() == 0
    run, newest = Run(run_path), list_checkpoints(run_path / "checkpoints")[-1]

    def go_on() -> None:
        """As a training does that goes on."""
        manifest, _ = read_checkpoint(newest)
        if manifest["config_hash"] != run.config.hash:
            raise LabError("another run's")
        sizes_up_to(run, manifest["step"], manifest.get("streams"), scales=True)

    def read() -> None:
        """As a training does that begins."""
        manifest = read_manifest(shards / "manifest.json", "")
        for shard in manifest.shards:
            check_size(shards, shard, "")
            check_digest(shards, shard, "")

    files = [Held(path, go_on, "tensors") for path in newest.glob("*.safetensors")]
    files += [Held(newest / "manifest.json", go_on, "a checkpoint's manifest")]
    files += [Held(run.path_of(stream), lambda: check_finished(run), "records") for stream in STREAMS]
    files += [Held(path, read, "shards") for path in shards.glob("*.bin")]
    return [*files, Held(shards / "manifest.json", read, "a manifest of shards")]
