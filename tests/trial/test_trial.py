"""`ngptlab try`: checks, learning rates, seeds, a verdict with an exit code of its own, and never the same try twice."""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ngptlab import methods
from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.errors import DataError
from ngptlab.jobs import local
from ngptlab.jobs.cell import Cell
from ngptlab.jobs.cost import Cost, shortened
from ngptlab.jobs.executor import Executor, Gate
from ngptlab.jobs.local import Local
from ngptlab.method_files import sources
from ngptlab.options.types import duration
from ngptlab.recipes import recipe
from ngptlab.studies.trial import plan, run
from ngptlab.studies.trial.budget import Budget
from ngptlab.studies.trial.files import record, recorded, steps_of
from ngptlab.studies.trial.numbers import Setting, Trial, diverged
from ngptlab.train.progress import Reporter, Silent
from ngptlab.train.stop import StopRequest

Captured = pytest.CaptureFixture[str]

SLOW = '''"""The baseline with a hundredth of its learning rate, for tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ngptlab.config import Dims
from ngptlab.methods.gpt import METHOD as GPT
from ngptlab.nn.optimizers import AdamW, Groups, Optimizers


@dataclass(frozen=True)
class Slow(AdamW):
    """AdamW with other peaks."""

    def build(self, dims: Dims) -> "Slow":
        return self

    def make(self, *given):
        made = super().make(*given)
        for group in made.param_groups:
            group["peak_lr"] = group["lr"] = group["peak_lr"] * 0.01
        return made


METHOD = replace(GPT, optimizer=Slow())
'''


@pytest.fixture(autouse=True)
def nothing_read() -> Iterator[None]:
    """As in a process of its own."""
    yield
    sources.forget()


@pytest.fixture
def slow(work: Path) -> Path:
    """A method that is clearly worse than the baseline."""
    (work / "slow.py").write_text(SLOW)
    return work / "slow.py"


@pytest.fixture
def small(tiny: list[str]) -> list[str]:
    return [*tiny, "--train.steps", "24", "--schedule.warmup-steps", "2"]


def told(capsys: Captured) -> Trial:
    found: Trial = json.loads(capsys.readouterr().out)
    return found


def test_a_whole_try(
    slow: Path,
    small: list[str],
    work: Path,
    in_process: None,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["try", "./slow.py", *small, "--json"]
    assert main(command) == 1
    first = told(capsys)
    assert first["verdict"] == "worse" and first["against"] == "gpt" and first["method"].startswith("slow@")
    assert first["sentence"].startswith("slow is worse than gpt: +")
    assert "each at its best of 3 learning rates, the true difference above +" in first["sentence"]
    assert first["difference_nats"] > first["bound_nats"] > 0  # type: ignore[operator]
    pairs = zip(first["losses"]["slow"], first["losses"]["gpt"], strict=True)
    assert first["difference_nats"] == pytest.approx(sum(a - b for a, b in pairs) / len(first["seeds"]))
    assert first["seeds"][0] == 1, "seed 0 chose the learning rates"
    assert first["lrs"] == [2**-9, 2**-8, 2**-7] and set(first["best_lr"]) == {"gpt", "slow"}
    assert any("is best for slow: its optimum may lie beyond" in text for text in first["warnings"])
    assert (Path(first["folder"]) / "target.json").is_file()

    # Again: nothing is trained, nothing is checked, and the file may lie elsewhere.
    for name in ("check", "sweep", "reach", "cost_here"):
        monkeypatch.setattr(run, name, None)
    (work / "elsewhere").mkdir()
    slow.rename(work / "elsewhere" / "slow.py")
    assert main(["try", "elsewhere/slow.py", *small, "--json"]) == 1
    assert told(capsys) == first
    assert main(["try", "elsewhere/slow.py", *small]) == 1
    assert capsys.readouterr().out == first["sentence"] + "\n"


def test_better_is_exit_code_0_and_again_repeats(
    slow: Path, small: list[str], work: Path, in_process: None, capsys: Captured
) -> None:
    command = ["try", "gpt", "--against", "./slow.py", *small, "--out", "tries"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("gpt is better than slow: -")
    assert main([*command, "--again"]) == 0
    lines = (work / "tries" / "tries.jsonl").read_text().splitlines()
    assert len(lines) == 2 and len({json.loads(line)["key"] for line in lines}) == 1


def test_a_budget_for_no_run_starts_none(
    tiny: list[str], work: Path, in_process: None, capsys: Captured
) -> None:
    assert main(["try", "qk_norm", *tiny, "--budget", "0.01s", "--json"]) == 3
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert "even runs of 6 steps may take" in err and found["steps"] == 6, "never fewer than 20, or than all"
    assert found["sentence"] == (
        "Undecided between qk_norm and gpt: the budget was spent before all learning rates were tried, in runs of all 6 steps of "
        "demo; give a larger --budget, with --again."
    )
    assert found["seeds"] == [] and not list(work.glob("out/try/*/rates/runs/*"))


@dataclass
class Machine:
    """A clock by which each run takes what it is told to, and what trains by it."""

    takes: list[float]
    """Seconds of the runs, one after the other; the last holds for all that follow."""
    now: float = 0.0
    begun: list[float] = field(default_factory=list)

    def run(self) -> None:
        self.begun.append(self.now)
        self.now += self.takes[min(len(self.begun), len(self.takes)) - 1]

    def executor(self, gate: Gate) -> Executor:
        machine = self

        class Here:
            def prepare(self, cells: Sequence[Cell], out: Path) -> None:
                Local().prepare(cells, out)

            def train(self, cells: Sequence[Cell], out: Path, request: StopRequest) -> dict[str, str]:
                for cell in cells:
                    if not gate.holds(1):
                        break
                    Local().train([cell], out, request)
                    begun = machine.now
                    machine.run()
                    gate.took(1, machine.now - begun)
                return {}

        return Here()

    @contextlib.contextmanager
    def reporter(self, config: RunConfig) -> Iterator[Reporter]:
        yield Silent()
        self.run()


@pytest.mark.parametrize(
    ("takes", "runs", "seeds", "says"),
    [
        # Six runs for learning rates, then pairs, as long as another one ends within 125 s.
        ([10.0], 12, [1, 2, 3], "over 3 pairs of seeds"),
        ([10.0] * 10 + [20.0], 11, [1, 2], "over 2 pairs of seeds"),
        # Other work comes, and a run takes 45 s: the second of a pair is not started.
        ([10.0] * 6 + [45.0], 7, [], "the budget was spent before a seed of both was trained"),
        ([10.0, 60.0], 2, [], "the budget was spent before all learning rates were tried"),
    ],
)
def test_no_run_is_started_that_would_exceed_the_budget(
    takes: list[float],
    runs: int,
    seeds: list[int],
    says: str,
    tiny: list[str],
    work: Path,
    in_process: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the machine does meanwhile, a run that begins would end in time if it took what the longest so far did."""
    monkeypatch.setattr(run, "cost_here", lambda recipe, names: Cost(step=0.0, rest=10.0))
    monkeypatch.setattr(run, "check", lambda *given: [])
    machine = Machine(takes)
    how = run.How(
        out=work / "tries",
        budget_seconds=125.0,
        reporter=machine.reporter,
        executor=machine.executor,
        clock=lambda: machine.now,
    )
    fields = {
        name.removeprefix("--").replace("-", "_"): value
        for name, value in zip(tiny[::2], tiny[1::2], strict=True)
    }
    trial, _ = run.attempt(recipe("demo"), "qk_norm", "gpt", fields, how)
    assert len(machine.begun) == runs and trial["seeds"] == seeds and says in trial["sentence"]
    assert machine.now <= 125.0 and trial["verdict"] == "undecided"


class Ended:
    """A process that is over."""

    def poll(self) -> int:
        return 0


def test_cells_are_started_as_long_as_the_budget_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a stack count each; what is under way ends."""
    cells = [Cell(methods.resolve(recipe("demo").arm(name))) for name in ("gpt", "ngpt", "qk_norm", "relu2")]
    started: list[int] = []

    def start(group: tuple[Cell, ...], out: Path, threads: int, environment: object = None) -> local.Worker:
        started.append(len(group))
        return local.Worker(group, Ended(), out, time.monotonic() - 10.0 * len(group))  # type: ignore[arg-type]

    class Quiet:
        def refresh(self, workers: int) -> None:
            pass

    monkeypatch.setattr(local, "start", start)
    monkeypatch.setattr(local, "_close", lambda worker, *of: [])
    monkeypatch.setattr(local, "hang_up", lambda worker: None)
    monkeypatch.setattr(local, "POLL_SECONDS", 0.0)
    for seconds, expected in ((1e9, [1, 2, 1]), (35.0, [1, 2]), (25.0, [1]), (0.0, [])):
        started.clear()
        budget = Budget(seconds=seconds, clock=lambda: 10.0 * sum(started), begun=0.0, run_seconds=1e-9)
        groups = [tuple(cells[:1]), tuple(cells[1:3]), tuple(cells[3:])]
        assert not local._train(cells, groups, tmp_path, 1, Quiet(), StopRequest(), budget)  # type: ignore[arg-type]
        assert started == expected
        assert not started or budget.run_seconds == pytest.approx(10.0, abs=1.0)


def test_a_broken_method_is_told_what_to_mend(
    slow: Path, small: list[str], work: Path, capsys: Captured
) -> None:
    text = SLOW.replace("optimizer=Slow()", "norm=Late()").replace(
        "METHOD =",
        "class Mean(torch.nn.Module):\n    def forward(self, h):\n        return h - h.mean(1, keepdim=True) / 2\n\n\n"
        "@dataclass(frozen=True)\nclass Late:\n    def build(self, dims):\n        return Mean()\n\n\nMETHOD =",
    )
    slow.write_text(text)
    assert main(["try", "./slow.py", *small]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(
        "ngptlab: slow fails 'no later token leaks': the prediction at position 0 depends on"
    )
    assert not (work / "out").exists()


def test_what_is_refused(work: Path, small: list[str], capsys: Captured) -> None:
    assert main(["new", "same", "--from", "gpt"]) == 0
    text = (work / "same.py").read_text()
    (work / "same.py").write_text(
        text.replace("Times(HeadWidthPower(-0.5), factor=1.25)", "HeadWidthPower(-0.5)")
    )
    for given, said in (
        (["./same.py"], "same: fills every seam as gpt does; change one"),
        (["qk_norm", "--budget", "ten"], "give a time as 90s, 10m or 1.5h"),
        (["qk_norm", "--seed", "1"], "this verb sets both"),
        (["qk_norm", "--seams.norm", "ngpt"], "try sets them; give METHOD and --against"),
        (["nothing"], "method: given 'nothing'"),
    ):
        assert main(["try", *given, *small]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds
    for wrong in ("", "10", "m", "-1m", "1d", "1e3s", "0s"):
        with pytest.raises(argparse.ArgumentTypeError):
            duration(wrong)


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_runs_are_halved_until_the_budget_holds_them() -> None:
    cost = Cost(step=1.0, rest=10.0)
    assert plan.steps_within(12 * (600 + 10), 600, cost) == 600
    assert plan.steps_within(12 * (600 + 10) - 1, 600, cost) == 300
    assert plan.steps_within(0, 600, cost) == 37 and plan.steps_within(0, 6, cost) == 6


def test_both_arms_have_what_was_tuned_for_the_rival() -> None:
    demo = recipe("demo")
    shared, settings = plan.shared(demo, "gpt", {"train.batch_size": "8", "optim.weight_decay": "0.2"})
    assert settings == {"optim.init": "std:0.1"}, "what is given on the command line stays"
    assert shared.config.optim.lr == demo.tuned["gpt"].lr and shared.config.train.batch_size == 8
    told: list[str] = []
    both = run._with_settings(shared, settings, ("qk_norm", "gpt"), told.append)
    arms = [methods.resolve(both.arm(name)) for name in ("qk_norm", "gpt")]
    assert all(arm.optim.init == "std:0.1" for arm in arms) and told == []
    shared, settings = plan.shared(demo, "ngpt", {})
    run._with_settings(shared, settings, ("gpt", "ngpt"), told.append)
    assert told == [
        "both without the recipe's optim.weight_decay 0.1: each has its own",
        "both without the recipe's optim.alpha_init 0.1: one refuses it",
    ]


def test_a_short_run_is_measured_at_its_ends() -> None:
    config = recipe("demo").config
    warm = config.model_copy(update={"schedule": config.schedule.model_copy(update={"warmup_steps": 60})})
    short = shortened(warm, 150)
    assert (short.train.steps, short.eval.every, short.schedule.warmup_steps) == (150, 150, 15)
    assert short.eval.val_tokens == 65_536 < config.eval.val_tokens


def test_each_method_gets_its_best_rate_and_seeds_that_did_not_choose_it() -> None:
    shared, _ = plan.shared(recipe("demo"), "gpt", {})
    best = plan.at_their_best(shared, {"gpt": 2**-8, "qk_norm": 2**-7})
    assert best.first_seed == 1 and best.arm("qk_norm").optim.lr == 2**-7
    assert best.arm("gpt").optim.lr_grid == plan.rates(shared)


def test_a_try_that_was_stopped_goes_on_with_its_steps(tmp_path: Path) -> None:
    def never() -> int:
        raise AssertionError("measured again")

    assert steps_of(tmp_path / "try", 600.0, lambda: 150) == 150
    assert steps_of(tmp_path / "try", 600.0, never) == 150
    assert steps_of(tmp_path / "try", 3600.0, lambda: 300) == 300
    (tmp_path / "try" / "steps.json").write_text("[]")
    assert steps_of(tmp_path / "try", 3600.0, lambda: 75) == 75


# --- the record -------------------------------------------------------------------------------------------------------

SETTING: Setting = {
    "method": "my_idea@0123456789ab",
    "against": "gpt",
    "recipe": "demo",
    "key": "a-b",
    "checks": [],
    "lrs": [0.001, 0.002, 0.004],
    "steps": 150,
    "recipe_steps": 600,
    "budget_seconds": 600.0,
    "folder": "out/try/x",
}


def test_a_method_that_diverges_at_every_rate_is_worse() -> None:
    found = diverged(SETTING, {"gpt": 0.002}, seconds=1.0)
    assert found["verdict"] == "worse" and found["warnings"] == []
    assert found["sentence"] == (
        "my_idea is worse than gpt: it diverged at every learning rate (0.001, 0.002, 0.004), in runs of 150 of the 600 steps of "
        "demo."
    )


def test_what_was_tried_is_found_by_its_key(tmp_path: Path) -> None:
    trial = diverged(SETTING, {}, seconds=1.0)
    assert recorded(tmp_path, "a-b") is None
    record(tmp_path / "new", trial)
    record(tmp_path / "new", {**trial, "seconds": 2.0})
    record(tmp_path / "new", {**trial, "key": "a-c"})
    path = tmp_path / "new" / "tries.jsonl"
    with path.open("a") as file:
        file.write('{"key": "a-b", "verd')  # a kill tore it
    found = recorded(tmp_path / "new", "a-b")
    assert found is not None and found["seconds"] == 2.0 and recorded(tmp_path / "new", "x") is None
    record(tmp_path / "new", {**trial, "key": "a-d"})
    assert recorded(tmp_path / "new", "a-d") and len(path.read_text().splitlines()) == 4
    half = {"key": "a-b", "verdict": "better", "sentence": "x"}
    for content in ({}, half, {**trial, "verdict": "perhaps"}, {**trial, "warnings": "none"}):
        path.write_text(json.dumps(content) + "\n")
        with pytest.raises(DataError, match=r"tries.jsonl, line 1: damaged \(no record of a try\)"):
            recorded(tmp_path / "new", "a-b")


def test_a_failed_run_is_an_error_and_no_verdict(
    tiny: list[str], work: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Local, "train", lambda self, cells, out, request: {c.config.hash: "broke" for c in cells}
    )
    assert main(["try", "qk_norm", *tiny]) == 2
    assert "gpt at learning rate 0.00195312: broke" in capsys.readouterr().err
    assert not (work / "out" / "try" / "tries.jsonl").exists()
