"""A crash at every call by which something is written: what is left is the old state or the new one, and work goes on from it."""

from __future__ import annotations

import pickle
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash_disk import Act, Disk, Left, Tree, crashes, digest, put, recording, seen, tree_of
from forking import Lab, Tally, difference, start
from kill_trials import BESIDE, ended_as

from ngptlab.cli import main
from ngptlab.disk import write_bytes
from ngptlab.errors import CheckpointError
from ngptlab.ledger.book import Ledger
from ngptlab.runs import Run
from ngptlab.train.checkpoint import list_checkpoints, read_checkpoint
from ngptlab.train.saves import Saves

Check = Callable[[Path, Left], str]


@dataclass
class Case:
    """Something that was done once, in a folder that was like `start` before, call by call."""

    start: Path
    acts: list[Act]
    check: Check
    """What is wrong with a folder that a crash left; it may be changed by looking."""
    within: range = range(0)
    left: list[Left] = field(default_factory=list)
    """States that differ, in any order, which are to be looked at."""

    def __post_init__(self) -> None:
        self.within = self.within or range(len(self.acts))

    def shuffle(self, draw: random.Random, draws: int = 2) -> int:
        """Find the states; returns the number of crashes that lead to them."""
        crashed = list(crashes(self.start, self.acts, draw, within=self.within, draws=draws))
        found = {(digest(each.tree), allowed(self.acts, each.number)): each for each in crashed}
        self.left = list(found.values())
        draw.shuffle(self.left)
        return len(crashed)


def record(
    work: Callable[[], int], root: Path, log: Path, before: Callable[[Any], None] = lambda recorder: None
) -> tuple[Path, list[Act]]:
    """Do `work`, which writes below `root`, in a child. Returns a copy of `root` as it was before, and the calls.

    Raises:
        AssertionError: the calls, done again in memory, give another folder: one of them was not seen.
    """
    start_, acts_ = root.with_name(f"{root.name}-before"), root.with_name(f"{root.name}-acts")
    shutil.copytree(root, start_, symlinks=True)

    def recorded() -> int:
        with recording(root) as recorder:
            before(recorder)
            code = work()
        acts_.write_bytes(pickle.dumps(recorder.acts))
        return code

    child = start(recorded, log)
    assert child.wait() == 0, child.told
    acts, disk = pickle.loads(acts_.read_bytes()), Disk(start_)
    for act in acts:
        disk.do(act)
    assert seen(disk) == tree_of(root), _unlike(seen(disk), tree_of(root))
    return start_, acts


def _unlike(a: Tree, b: Tree) -> list[str]:
    return sorted(name for name in {*a, *b} if a.get(name, 0) != b.get(name, 0))


def mark_saves(recorder: Any) -> None:
    """Have each save of a checkpoint among the calls, with the bringing of the records to the disk before it."""
    save = Saves._write

    def marked(self: Saves, step: int, *given: Any) -> None:
        recorder.mark(f"save {step}")
        save(self, step, *given)
        recorder.mark(f"saved {step}")

    Saves._write = marked  # type: ignore[method-assign]


def allowed(acts: list[Act], number: int) -> tuple[int, ...]:
    """Steps from which a training may go on after a crash at this call: the last that was saved, or the one being saved."""
    saved: tuple[int, ...] = (0,)
    for act in acts[: number + 1]:
        if act.what == "mark":
            word, _, step = act.path.partition(" ")
            saved = (saved[-1], int(step)) if word == "save" else (int(step),)
    return saved


# --- trainings ----------------------------------------------------------------------------------------------------------


def training(
    lab: Lab, draw: random.Random, *, one_save: bool, full: bool = True, beside: bool = False
) -> Case:
    """A training that was written down from its first call; all of it, or its third save alone.

    `full`: what a crash left is trained to its end. Otherwise its newest whole checkpoint is looked for. `beside`: checkpoints
    are written beside the training, so that its own calls stand between those of a save.
    """
    wanted, _ = lab.straight(lab.config("gpt"))
    config = lab.config("gpt", **BESIDE if beside else {})
    root = lab.folder / "recorded" / f"training-{one_save}-{full}-{beside}"
    root.mkdir(parents=True)
    before, acts = record(
        lambda: main(["train", str(config), "--out", str(root / "run")]),
        root,
        root.with_name(f"{root.name}.log"),
        mark_saves,
    )

    def check(folder: Path, left: Left) -> str:
        run, steps = folder / "run", allowed(acts, left.number)
        if not full:
            return "" if (found := newest(run)) in steps else f"goes on from step {found}, not {steps}"
        child = lab.train(config, run)
        problem = ended_as(child, run, wanted)
        found = re.search(r"goes on after step (\d+)", child.told)
        step = int(found[1]) if found else 12 if "already done" in child.told else 0
        return problem or ("" if step in steps else f"went on from step {step}, not {steps}")

    marks = [
        number for number, act in enumerate(acts) if act.what == "mark" and act.path in ("save 9", "saved 9")
    ]
    return Case(before, acts, check, range(marks[0], marks[1] + 1) if one_save else range(0))


def newest(run: Path) -> int:
    """The step of the newest checkpoint that is whole; 0 where there is none."""
    for path in reversed(list_checkpoints(run / "checkpoints")):
        try:
            return int(read_checkpoint(path)[0]["step"])
        except CheckpointError:
            continue
    return 0


# --- others -------------------------------------------------------------------------------------------------------------


def branch(lab: Lab, draw: random.Random) -> Case:
    """A run that begins as another one's branch."""
    from ngptlab.config import load
    from ngptlab.train.fork import fork

    fields = {
        "schedule": {"shape": "wsd", "warmup_steps": 2, "cooldown_frac": 0.2},
        "checkpoint": {"every": 2},
    }
    trunk = lab.config("ngpt", **fields, train={"steps": 12}, eval={"every": 2})
    long = lab.config("ngpt", **fields, train={"steps": 20}, eval={"every": 2})
    wanted, _ = lab.straight(long)
    root = lab.folder / "recorded" / "branch"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    child = lab.train(trunk, root / "trunk")
    assert child.wait() == 0, child.told

    def branched(folder: Path) -> int:
        return 0 if fork(folder / "trunk", load(long), folder / "run") else 1

    before, acts = record(lambda: branched(root), root, root.with_name("branch.log"))

    def check(folder: Path, left: Left) -> str:
        there = (folder / "run").exists()
        if not there and (child := start(lambda: branched(folder), folder.with_name("again.log"))).wait():
            return f"can't branch off again: {child.last_word}"
        child = lab.train(long, folder / "run")
        problem = ended_as(child, folder / "run", wanted)
        return problem or (
            ""
            if "goes on after step" in child.told
            else f"began anew; the folder {'was' if there else 'was not'} there"
        )

    return Case(before, acts, check)


def one_file(lab: Lab, draw: random.Random) -> Case:
    """A file that is written in place of another."""
    root, old, new = lab.folder / "recorded" / "file", b"old" * 9, b"newer" * 3000
    root.mkdir(parents=True)
    (root / "file").write_bytes(old)
    before, acts = record(lambda: write_bytes(root / "file", new) or 0, root, root.with_name("file.log"))

    def check(folder: Path, left: Left) -> str:
        found = (folder / "file").read_bytes() if (folder / "file").exists() else b""
        if found not in (old, new):
            return f"neither the old file nor the new one, {len(found)} bytes"
        return "" if found == new or left.number < len(acts) - 1 else "the old file, when all was done"

    return Case(before, acts, check)


def ledger(lab: Lab, draw: random.Random) -> Case:
    """Lines of a ledger: two runs added, then an evaluation of the first."""
    root = lab.folder / "recorded" / "ledger"
    runs = []
    for number, method in enumerate(("gpt", "ngpt")):
        config = lab.config(method)
        path = lab.folder / "finished" / str(number)
        path.parent.mkdir(exist_ok=True)
        assert lab.train(config, path).wait() == 0
        runs.append(path)
    root.mkdir(parents=True)

    def add(folder: Path) -> int:
        book = Ledger(folder / "ledger")
        for path in runs:
            book.add([Run(path)])
        return 0

    before, acts = record(lambda: add(root), root, root.with_name("ledger.log"))
    wanted = tree_of(root)

    def check(folder: Path, left: Left) -> str:
        book = Ledger(folder / "ledger")
        if problems := book.problems():
            return f"damaged: {problems[0]}"
        child = start(lambda: add(folder), folder.with_name("again.log"))
        if child.wait():
            return f"can't be added to: {child.last_word}"
        lines = [
            line
            for name, content in tree_of(folder).items()
            if name.endswith(".jsonl")
            for line in content.splitlines()
        ]  # type: ignore[union-attr]
        kept = [
            line
            for name, content in wanted.items()
            if name.endswith(".jsonl")
            for line in content.splitlines()
        ]  # type: ignore[union-attr]
        return "" if sorted(lines) == sorted(kept) else "other lines than those of a ledger without a crash"

    return Case(before, acts, check)


def preparation(lab: Lab, draw: random.Random) -> Case:
    """Shards, made from texts in small batches with a journal."""
    from ngptlab.data.prepare import text_to_shards

    text_to_shards.BATCH_BYTES = 2000
    root = lab.folder / "recorded" / "prepare"
    root.mkdir(parents=True)
    command = [
        "data",
        "prepare",
        str(lab.folder / "texts"),
        "--tokenizer",
        "bytes",
        "--val-share",
        "0.2",
        "--out",
    ]
    before, acts = record(lambda: main([*command, str(root / "shards")]), root, root.with_name("prepare.log"))
    wanted = {
        name: content for name, content in tree_of(root).items() if content is not None and "lock" not in name
    }

    def check(folder: Path, left: Left) -> str:
        child = start(lambda: main([*command, str(folder / "shards")]), folder.with_name("again.log"))
        if child.wait():
            return f"can't go on: {child.last_word}"
        found = {
            name: content
            for name, content in tree_of(folder).items()
            if content is not None and "lock" not in name
        }
        return difference(found, wanted)  # type: ignore[arg-type]

    return Case(before, acts, check)


# --- kinds --------------------------------------------------------------------------------------------------------------

CASES: dict[str, Callable[[Lab, random.Random], Case]] = {
    "save_crashes": lambda lab, draw: training(lab, draw, one_save=True),
    "save_glances": lambda lab, draw: training(lab, draw, one_save=True, full=False),
    "training_crashes": lambda lab, draw: training(lab, draw, one_save=False),
    "async_save_crashes": lambda lab, draw: training(lab, draw, one_save=True, beside=True),
    "async_save_glances": lambda lab, draw: training(lab, draw, one_save=True, full=False, beside=True),
    "branch_crashes": branch,
    "file_crashes": one_file,
    "ledger_crashes": ledger,
    "prepare_crashes": preparation,
}
_begun: dict[tuple[Path, str], Case] = {}


def of_kind(kind: str) -> Callable[[Lab, Tally, int, random.Random], None]:
    """Look at states that crashes leave, until `count` have been looked at or there are no more."""

    def trials(lab: Lab, tally: Tally, count: int, draw: random.Random) -> None:
        if (lab.folder, kind) not in _begun:
            case = _begun[lab.folder, kind] = CASES[kind](lab, draw)
            tally.facts["calls"] = sum(
                case.acts[number].what not in ("mark", "open") for number in case.within
            )
            tally.facts["crashes"] = case.shuffle(draw)
            tally.facts["states that differ"] = len(case.left)
        case = _begun[lab.folder, kind]
        while case.left and tally.done < count:
            each = case.left.pop()
            with lab.place(f"{kind}{tally.done}") as folder:
                put(each.tree, folder)
                problem = case.check(folder, each)
                tally.add(f"call {each.number}, {each.how}: {problem}" if problem else "")

    return trials
