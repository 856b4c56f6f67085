"""Many commands begin on one folder in the same moment: one does the work, and the others are told why they don't."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

from forking import Child, Lab, Tally, difference, outcome, start

from ngptlab.cli import main
from ngptlab.data.shards.verify import verify
from ngptlab.runs import Run

AT_ONCE = 20
TRAINING = "another process is training this run; wait for it or stop it"
FINISHED = ("already done in", "another process has just finished it in")
COMPARING = "another command is training there; wait for it or stop it"
PREPARING = "another process is at work there; wait for it or end it"


def together(work: Callable[[], int], logs: Path) -> list[Child]:
    """Fork so many children that begin in one moment; gives them after their end."""
    ready = os.pipe()

    def wait_and_work() -> int:
        os.close(ready[1])
        os.read(ready[0], 1)  # ends in all of them at once
        return work()

    children = [start(wait_and_work, logs / f"{number}.log") for number in range(AT_ONCE)]
    os.close(ready[0]), os.close(ready[1])
    return children


def starts(lab: Lab, tally: Tally, count: int, draw: random.Random) -> None:
    """Trainings, comparisons and preparations in turn; counted are the commands."""
    while tally.done < count:
        with lab.place(f"starts{tally.done}") as place:
            place.mkdir(parents=True)
            kind, begin = (("train", trainings), ("prepare", preparations), ("compare", comparisons))[
                tally.done // AT_ONCE % 3
            ]
            problems = begin(lab, place)
            for number in range(AT_ONCE):
                tally.add(f"{kind}: {problems[number]}" if number < len(problems) else "", kind)


def trainings(lab: Lab, place: Path) -> list[str]:
    """One run."""
    config = lab.config("gpt")
    wanted, _ = lab.straight(config)
    run = place / "run"
    children = together(lambda: main(["train", str(config), "--out", str(run)]), place / "logs")
    codes = [child.wait() for child in children]
    trained = [child for child in children if "step 12  validation" in child.told]
    problems = [] if len(trained) == 1 else [f"{len(trained)} trained it"]
    for code, child in zip(codes, children, strict=True):
        told = (code == 0 and any(words in child.told for words in FINISHED)) or (
            code == 2 and TRAINING in child.last_word
        )
        if child not in trained and not told:
            problems.append(f"code {code}: {child.last_word}")
    return problems + ([found] if (found := difference(outcome(run), wanted)) else [])


def preparations(lab: Lab, place: Path) -> list[str]:
    """One folder of shards."""
    shards = place / "shards"
    command = ["data", "prepare", str(lab.folder / "texts"), "--tokenizer", "bytes", "--val-share", "0.3"]
    children = together(lambda: main([*command, "--out", str(shards)]), place / "logs")
    codes = [child.wait() for child in children]
    problems = [] if 0 in codes else ["nobody prepared it"]
    for code, child in zip(codes, children, strict=True):
        if code and (code != 2 or PREPARING not in child.last_word):
            problems.append(f"code {code}: {child.last_word}")
    verify(shards)  # raises where something is wrong
    return problems


def comparisons(lab: Lab, place: Path) -> list[str]:
    """One comparison of two methods."""
    config = json.loads(lab.config("gpt").read_text())
    path = place / "config.json"
    path.write_text(json.dumps(config))
    command = ["compare", str(path), "--methods", "gpt", "ngpt", "--out", str(place / "out")]
    children = together(lambda: main(command), place / "logs")
    codes = [child.wait() for child in children]
    problems = [] if 0 in codes else ["nobody finished it"]
    for code, child in zip(codes, children, strict=True):
        if code and (code != 2 or not any(words in child.last_word for words in (TRAINING, COMPARING))):
            problems.append(f"code {code}: {child.last_word}")
    runs = sorted((place / "out" / "runs").iterdir())
    if len(runs) != 2 or not all(Run(run).done for run in runs):
        problems.append(f"{len(runs)} runs, of which {sum(Run(run).done for run in runs)} are done")
    for run in runs:
        steps = [record["step"] for record in Run(run).read("metrics")]
        if steps != list(range(1, 13)):
            problems.append(f"{run.name} has steps {steps}")
    return problems
