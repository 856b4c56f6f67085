"""Signals at random moments: the exit code that is documented, and a checkpoint of the step that was under way."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from forking import CRASHED, METHODS, Lab, Tally
from kill_trials import BESIDE, SLOW, break_name, ended_as, lines, raise_on_many

from ngptlab.disk import read_json
from ngptlab.train.checkpoint import list_checkpoints, read_checkpoint, step_of
from ngptlab.train.stop import STOPS


def async_signals(lab: Lab, tally: Tally, count: int, draw: random.Random) -> None:
    """The same where checkpoints are written beside the training."""
    signals(lab, tally, count, draw, beside=True)


def signals(lab: Lab, tally: Tally, count: int, draw: random.Random, *, beside: bool = False) -> None:
    """One signal for each training, which then goes on to its end."""
    straight = [lab.straight(lab.config(method)) for method in METHODS]
    configs = [lab.config(method, **BESIDE if beside else {}) for method in METHODS]
    usual = max(seconds for _, seconds in straight)
    while tally.done < count:
        chosen, number = draw.randrange(len(configs)), draw.choice(STOPS)
        with lab.place(f"signal{tally.done}") as run:
            child = lab.train(configs[chosen], run, slow=SLOW if beside else 0.0)
            time.sleep(draw.uniform(0, usual))
            child.send(number)
            problem, where = stopped_as(child.wait(), number, run, child.last_word)
            if not problem:
                problem = ended_as(lab.train(configs[chosen], run), run, straight[chosen][0])
            tally.add(f"{run.name}, {number.name} {where}: {problem}" if problem else "", number.name, where)
            if problem:
                raise_on_many(tally)
                break_name(run)


def stopped_as(code: int, number: signal.Signals, run: Path, last_word: str) -> tuple[str, str]:
    """What is wrong with how a training ended after a signal, and where that fell."""
    if not (run / "config.json").exists():
        # Python itself hears the signal before the command does.
        heard = code in (128 + number, -number) or (code == CRASHED and number == signal.SIGINT)
        return ("" if heard else f"code {code}: {last_word}"), "before the run's folder"
    status = read_json(run / "summary.json").get("status") if (run / "summary.json").exists() else None
    if status == "done":
        return ("" if code in (0, 128 + number) else f"code {code}: {last_word}"), "at the end"
    if code != 128 + number:
        return f"code {code}: {last_word}", "in the training"
    recorded = len(lines(run))
    if not recorded:
        return "", "before the first step"
    newest = list_checkpoints(run / "checkpoints")[-1]
    read_checkpoint(newest)
    if step_of(newest) != recorded or status != "stopped":
        return f"step {recorded} recorded, {step_of(newest)} saved, summary {status}", "in the training"
    return "", "in the training"
