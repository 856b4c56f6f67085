"""The numbers, against values computed by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngptlab.errors import ConfigError
from ngptlab.report.schema import Summary
from ngptlab.report.summary import summarize
from ngptlab.stats.estimates import ci95, stderr
from ngptlab.stats.gaps import crossovers
from ngptlab.stats.records import load_runs
from ngptlab.stats.series import block_means, median_iqr, steady

MakeRun = Callable[..., Path]

FALLING = {0: 5.0, 20: 4.0, 60: 3.0, 100: 2.0}


def summary_of(*paths: Any) -> Summary:
    return summarize(load_runs(paths), title="t")


def test_one_method_with_one_seed(make_run: MakeRun) -> None:
    summary = summary_of(make_run("a", FALLING, stderr=0.02, bits_per_byte=1.25))
    numbers = summary["methods"]["a"]
    assert summary["baseline"] == "a" and summary["gaps"] == {}
    assert numbers["final_loss_nats"] == 2.0
    assert (numbers["final_loss_stderr"], numbers["stderr_kind"]) == (0.02, "validation")
    assert numbers["final_losses_by_seed"] == {"0": 2.0}
    assert numbers["bits_per_byte"] == 1.25
    assert numbers["perplexity"] == pytest.approx(math.exp(2.0))
    assert numbers["tokens"] == 100 * 8 * 16 and numbers["params"] == 1234
    # Operations a token: 6 (4 x 4 x 4 projections + 3 x 4 x 10 MLP + 8 x 4 head) + 6 x 4 x 16 scores = 1680.
    cost = {"step": 20, "tokens": 20 * 128, "flops": 20 * 128 * 1680, "seconds": None}
    assert numbers["val"][1] == {**cost, "loss_nats": 4.0, "stderr": 0.02, "ci95": None, "by_seed": [4.0]}
    assert any("One seed for a" in warning for warning in summary["warnings"])


def test_seeds_are_averaged_and_paired(make_run: MakeRun) -> None:
    # Each seed moves both arms: the pairs differ by -0.19, -0.2, -0.21 while the arms themselves spread by 1.
    base = [make_run("a", {0: 5.0, 100: loss}, seed=s) for s, loss in enumerate((2.0, 3.0, 4.0))]
    other = [make_run("b", {0: 5.0, 100: loss}, seed=s) for s, loss in ((2, 3.79), (0, 1.81), (1, 2.8))]
    summary = summary_of(*base, *other)
    a, gap = summary["methods"]["a"], summary["gaps"]["b"]
    assert (a["seeds"], a["stderr_kind"]) == (["0", "1", "2"], "seeds")
    assert a["final_loss_nats"] == pytest.approx(3.0)
    assert a["final_loss_stderr"] == pytest.approx(1 / math.sqrt(3))
    assert gap["paired_seeds"] == summary["methods"]["b"]["seeds"] == ["0", "1", "2"]
    assert gap["final_gap_nats"] == pytest.approx(-0.2)
    assert gap["final_gap_stderr"] == pytest.approx(0.01 / math.sqrt(3))
    assert gap["final_gap_ci95"] == pytest.approx(4.302652729749464 * 0.01 / math.sqrt(3))
    assert gap["stderr"] is not None and len(gap["stderr"]) == len(gap["steps"]) == 2
    assert "3 paired seeds" in summary["headline"] and "no difference" not in summary["headline"]
    assert not any("seed" in warning for warning in summary["warnings"])


def test_a_difference_within_the_interval_is_no_claim(make_run: MakeRun) -> None:
    base = [make_run("a", {0: 5.0, 100: 2.0}, seed=s) for s in range(3)]
    other = [make_run("b", {0: 5.0, 100: loss}, seed=s) for s, loss in enumerate((1.9, 2.0, 2.05))]
    assert "no difference is shown" in summary_of(*base, *other)["headline"]


def test_only_shared_seeds_make_the_gap(make_run: MakeRun) -> None:
    base = [make_run("a", {0: 5.0, 100: loss}, seed=s) for s, loss in ((0, 2.0), (1, 9.0))]
    summary = summary_of(*base, make_run("b", {0: 5.0, 100: 1.5}, seed=0))
    gap = summary["gaps"]["b"]
    assert (gap["final_gap_nats"], gap["final_gap_stderr"], gap["stderr"]) == (-0.5, None, None)
    assert gap["baseline_final_loss_nats"] == 2.0 and "1.5000 against 2.0000" in summary["headline"]
    assert any("shared ones only" in warning for warning in summary["warnings"])


def test_without_shared_seeds_the_means_are_compared(make_run: MakeRun) -> None:
    base = [make_run("a", {0: 5.0, 100: loss}, seed=s) for s, loss in ((0, 2.0), (1, 2.2))]
    other = [make_run("b", {0: 5.0, 100: loss}, seed=s) for s, loss in ((5, 1.0), (6, 1.6))]
    summary = summary_of(*base, *other)
    gap = summary["gaps"]["b"]
    assert gap["paired_seeds"] == [] and gap["final_gap_nats"] == pytest.approx(-0.8)
    assert gap["final_gap_stderr"] == pytest.approx(math.hypot(0.1, 0.3))
    assert any("No seed shared with a: b" in warning for warning in summary["warnings"])


def test_batches_are_part_of_the_pairing(make_run: MakeRun) -> None:
    base = [make_run("a", FALLING, seed=0, data={"seed": d}) for d in (0, 1)]
    summary = summary_of(*base, make_run("b", FALLING, seed=0, data={"seed": 1}))
    assert summary["methods"]["a"]["seeds"] == ["0/0", "0/1"]
    assert summary["gaps"]["b"]["paired_seeds"] == ["0/1"]


def test_crossover_by_interpolation(make_run: MakeRun) -> None:
    # Gaps after step 0: +0.3 at 20, +0.3 at 60, -0.1 at 100: zero three quarters of the way from 60 to 100.
    base, other = make_run("a", FALLING), make_run("b", {0: 4.0, 20: 4.3, 60: 3.3, 100: 1.9})
    gap = summary_of(base, other)["gaps"]["b"]
    assert gap["steps"] == [0, 20, 60, 100]
    assert gap["gap_nats"] == pytest.approx([-1.0, 0.3, 0.3, -0.1])
    (crossing,) = gap["crossovers"]
    assert crossing["step"] == pytest.approx(90.0) and crossing["tokens"] == pytest.approx(90 * 128)
    assert gap["last_sign_change_step"] == crossing["step"]
    assert gap["in_cooldown"] is True  # it starts at step 70
    # With 4 sequences of 16 tokens in each of the first 50 steps and 12 in the others, it has met fewer by then.
    growing = make_run("b", {0: 4.0, 20: 4.3, 60: 3.3, 100: 1.9}, train={"batch_stages": (0.5, 1.5)})
    (crossing,) = summary_of(base, growing)["gaps"]["b"]["crossovers"]
    assert crossing["tokens"] == pytest.approx((50 * 4 + 40 * 12) * 16)


@pytest.mark.parametrize(
    ("gaps", "steps"),
    [
        ([1.0, 1.0, 0.5, 0.25], []),
        ([-1.0, 1.0, 0.5, 0.25], []),  # the change between step 0 and 10 is the initial one
        ([1.0, -1.0, 1.0, -3.0], [15.0, 22.5]),
        ([1.0, -1.0, 0.0, 3.0], [20.0]),
        ([1.0, -1.0, 0.0, -3.0], []),
        ([1.0, 0.0, 0.0, 1.0], []),
        ([1.0, -1.0, 1.0, 0.0], [15.0]),
    ],
)
def test_every_change_of_sign_and_no_other(gaps: list[float], steps: list[float]) -> None:
    found = crossovers([0, 10, 20, 30], gaps, lambda step: 2 * step)
    assert [c["step"] for c in found] == pytest.approx(steps)
    assert [c["tokens"] for c in found] == pytest.approx([2 * step for step in steps])


def test_a_gap_that_never_crosses(make_run: MakeRun) -> None:
    summary = summary_of(make_run("a", FALLING), make_run("b", {0: 6.0, 20: 3.5, 60: 2.5, 100: 1.5}))
    gap = summary["gaps"]["b"]
    assert (gap["crossovers"], gap["last_sign_change_step"], gap["in_cooldown"]) == ([], None, None)
    assert "b is ahead of a at every validation after step 0" in summary["findings"][0]["text"]


def test_one_validation_says_nothing_of_the_way(make_run: MakeRun) -> None:
    """It was "ahead at every validation after step 0", of which there was one."""
    summary = summary_of(make_run("a", {0: 6.0, 100: 2.0}), make_run("b", {0: 6.0, 100: 1.5}))
    said = summary["findings"][0]["text"]
    assert "one validation after step 0, so nothing is known" in said and "every" not in said


def test_a_gap_that_crosses_twice(make_run: MakeRun) -> None:
    summary = summary_of(make_run("a", FALLING), make_run("b", {0: 5.0, 20: 3.0, 60: 4.0, 100: 1.0}))
    gap = summary["gaps"]["b"]
    assert [c["step"] for c in gap["crossovers"]] == pytest.approx([40.0, 80.0])
    text = summary["findings"][0]["text"]
    assert "changes sign 2 times, last near step 80" in text and "b is ahead at first" in text


def test_without_a_cooldown_nothing_is_in_it(make_run: MakeRun) -> None:
    crossing = {0: 5.0, 20: 4.3, 60: 3.3, 100: 1.9}
    runs = [
        make_run(m, losses, schedule={"shape": "constant"}) for m, losses in (("a", FALLING), ("b", crossing))
    ]
    summary = summary_of(*runs)
    assert summary["schedule"]["cooldown_start_step"] is None
    assert summary["gaps"]["b"]["in_cooldown"] is None
    assert "cooldown" not in summary["findings"][0]["text"]


def test_schedule(make_run: MakeRun) -> None:
    schedule = summary_of(make_run("a", FALLING))["schedule"]
    assert (schedule["steps"], schedule["cooldown_start_step"], schedule["step_tokens"]) == (100, 70, 128)


def test_step_time_leaves_out_the_first_tenth(make_run: MakeRun) -> None:
    slow_start = [9.0, 9.0, *([0.1, 0.3] * 9)]  # 20 steps, two of them left out
    base = make_run("a", FALLING, seconds=slow_start)
    summary = summary_of(base, make_run("b", FALLING, seconds=[2 * s for s in slow_start]))
    a = summary["methods"]["a"]
    assert a["step_seconds_median"] == pytest.approx(0.2)
    assert a["step_seconds_iqr"] == pytest.approx(0.2)
    assert a["tokens_per_second"] == pytest.approx(128 / 0.2)
    assert summary["gaps"]["b"]["step_time_ratio"] == pytest.approx(2.0)


def test_without_timing_there_is_no_ratio(make_run: MakeRun) -> None:
    summary = summary_of(make_run("a", FALLING, seconds=[1.0, 1.0]), make_run("b", FALLING, seconds=[1.0]))
    assert summary["methods"]["b"]["step_seconds_median"] is None  # its only step is warm-up
    assert summary["gaps"]["b"]["step_time_ratio"] is None


def test_length(make_run: MakeRun) -> None:
    base = [make_run("a", FALLING, seed=s, length=[2.0, 3.0 + s, 5.0 + 2 * s, 7.0]) for s in (0, 1)]
    summary = summary_of(*base, make_run("b", FALLING, length=[2.0, 2.5, 2.25, 2.0], length_stderr=None))
    a, b = summary["methods"]["a"], summary["methods"]["b"]
    assert a["length"][2] == {
        "from": 32,
        "to": 64,
        "loss_nats": 6.0,
        "stderr_nats": pytest.approx(1.0),
        "ci95_nats": pytest.approx(12.706204736),
        "by_seed": [5.0, 7.0],
        "perplexity": pytest.approx(math.exp(6.0)),
    }
    assert b["length"][0]["stderr_nats"] is None and b["length_documents"] == 4
    text = summary["findings"][0]["text"]
    assert (
        "At 8× the training context, positions 64 to 128, the loss of b is 2.0000 nats against 7.0000" in text
    )
    assert "changes by +0.0000 for b and +5.0000 for a." in text


def test_one_document_has_no_standard_error(make_run: MakeRun) -> None:
    run = make_run("a", FALLING, length=[2.0, 3.0], length_stderr=0.0, documents=1)
    assert [point["stderr_nats"] for point in summary_of(run)["methods"]["a"]["length"]] == [None, None]


def test_a_missing_length_evaluation(make_run: MakeRun) -> None:
    without = make_run("a", FALLING)
    assert summary_of(without)["methods"]["a"]["length"] == []
    assert not any("length" in warning for warning in summary_of(without)["warnings"])
    summary = summary_of(without, make_run("b", FALLING, length=[2.0, 3.0]))
    assert any(f"No length evaluation in {without.name}" in warning for warning in summary["warnings"])


def test_training_loss_is_averaged(make_run: MakeRun) -> None:
    base = [make_run("a", {0: 5.0, 50: loss, 100: 1.0}, seed=s) for s, loss in ((0, 2.0), (1, 4.0))]
    train = summary_of(*base)["methods"]["a"]["train"]
    assert [(p["step"], p["tokens"]) for p in train] == [(step, 128 * step) for step in range(1, 101)]
    assert [p["loss_nats"] for p in train] == [pytest.approx(3.1)] * 50 + [pytest.approx(1.1)] * 50
    assert block_means([1, 2, 3, 4, 5], [1.0, 3.0, 5.0, 7.0, 9.0], blocks=3) == [(2, 2.0), (4, 6.0), (5, 9.0)]
    assert block_means([], []) == []


def test_small_statistics() -> None:
    assert stderr([1.0]) is None and stderr([1.0, 3.0]) == pytest.approx(1.0)
    assert ci95(None, 1) is None
    assert len(steady([1.0] * 11)) == 9 and len(steady([1.0] * 5)) == 4
    assert median_iqr([]) == (None, None)


def test_a_learning_rate_at_the_edge_warns(make_run: MakeRun) -> None:
    run = make_run("a", FALLING, optim={"lr": 2**-8})
    summary = summary_of(run, make_run("b", FALLING, optim={"lr_grid": [2**-9, 2**-8, 2**-10, 2**-11]}))
    note = summary["methods"]["a"]["lr_note"]
    assert note.startswith("on the edge of what search") and note.endswith("may lie beyond: optim.lr")
    assert any("Settings of a" in w and "on the edge" in w for w in summary["warnings"])
    assert any("a and b were not tuned alike: optim.lr among" in warning for warning in summary["warnings"])


def test_runs_of_one_method_that_differ_warn(make_run: MakeRun) -> None:
    changed = make_run("a", FALLING, seed=1, optim={"weight_decay": 0.2}, schedule={"warmup_steps": 7})
    summary = summary_of(make_run("a", FALLING), changed)
    (warning,) = [w for w in summary["warnings"] if "Runs of a" in w]
    assert "optim.weight_decay (0.1, 0.2)" in warning and "schedule.warmup_steps (5, 7)" in warning


def test_methods_that_differ_in_more_than_the_method_warn(make_run: MakeRun) -> None:
    optim = {"lr": 2**-10, "lr_grid": [2**-11, 2**-10, 2**-9], "weight_decay": 0.0}
    fair = make_run("b", FALLING, optim=optim, schedule={"warmup_steps": 0})
    unfair = make_run("c", FALLING, model={"d_model": 8}, eval={"val_tokens": 64})
    warnings = summary_of(make_run("a", FALLING), fair, unfair)["warnings"]
    (warning,) = [w for w in warnings if "more than method, optimizer and warm-up" in w]
    assert (
        warning.startswith("c and a") and "model.d_model (4, 8)" in warning and "eval.val_tokens" in warning
    )


@pytest.mark.parametrize(
    ("key", "said"), [("data_digest", "same data"), ("torch", "same code"), ("threads", "same machine")]
)
def test_runs_from_different_places_warn(make_run: MakeRun, key: str, said: str) -> None:
    runs = [
        make_run(m, FALLING, env={"data_digest": "d1", key: value}) for m, value in (("a", "1"), ("b", "2"))
    ]
    (warning,) = [w for w in summary_of(*runs)["warnings"] if said in w]
    assert f"{key} (1, 2)" in warning


@pytest.mark.parametrize("key", ["processes", "runs_at_once"])
def test_runs_in_several_processes_and_in_one_warn(make_run: MakeRun, key: str) -> None:
    """A run in one process, or by itself, says nothing of their number."""
    runs = [make_run("a", FALLING), make_run("b", FALLING, env={"data_digest": "d1", key: 8})]
    (warning,) = [w for w in summary_of(*runs)["warnings"] if "same machine" in w]
    assert f"{key} (1, 8)" in warning
    assert not [w for w in summary_of(runs[0], make_run("c", FALLING))["warnings"] if key in w]


def test_two_runs_with_the_same_seeds_are_refused(make_run: MakeRun) -> None:
    first, twin = make_run("a", FALLING), make_run("a", FALLING, optim={"lr": 2**-8})
    with pytest.raises(ConfigError, match=r"same seeds, differing in optim.lr"):
        summary_of(first, twin)
    with pytest.raises(ConfigError, match="differing in nothing"):
        summary_of(first, first)


def test_many_methods_and_either_sign(make_run: MakeRun) -> None:
    def runs(method: str, final: float) -> Any:
        return make_run(method, {0: 5.0, 50: 3.0, 100: final})

    a, b, c = runs("a", 2.0), runs("b", 1.5), runs("c", 2.5)
    assert "b has the lowest validation loss of 3 methods: 1.5000" in summary_of(a, b, c)["headline"]
    assert "the baseline b has the lowest validation loss" in summary_of(b, a, c)["headline"]
    assert "c ends 0.5000 nats worse than a (2.5000 against 2.0000" in summary_of(a, c)["headline"]
    assert "b ends 0.5000 nats better than a (1.5000 against 2.0000" in summary_of(a, b)["headline"]
    assert "from one seed" in summary_of(a, b)["headline"]


def test_equal_methods_are_level(make_run: MakeRun) -> None:
    summary = summary_of(make_run("a", FALLING), make_run("b", FALLING))
    assert "b ends level with a" in summary["headline"]
    assert "sign" not in summary["findings"][0]["text"] and "ahead" not in summary["findings"][0]["text"]


def test_every_number_is_finite(make_run: MakeRun) -> None:
    huge = make_run("a", {0: 5.0, 100: 1e6}, length=[1e6, 2.0])
    summary = summary_of(huge)
    assert summary["methods"]["a"]["perplexity"] is None
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize(
    ("arms", "headline"),
    [
        (
            {"a": [2.0]},
            "a ends at a validation loss of 2.0000 nats (1.5000 bits per byte; one seed). "
            "There is one method, and nothing to compare it with.",
        ),
        (
            {"a": [2.0], "b": [1.9]},
            "b ends 0.1000 nats better than a (1.9000 against 2.0000 nats of validation loss). "
            "The difference is from one seed, so nothing says how far another would move it.",
        ),
        (
            {"a": [2.0], "b": [2.0]},
            "b ends level with a (2.0000 against 2.0000 nats of validation loss). "
            "The difference is from one seed, so nothing says how far another would move it.",
        ),
        (
            {"a": [2.0, 2.2], "b": [1.9, 2.08], "c": [2.5, 2.5]},
            "b has the lowest validation loss of 3 methods: 1.9900 nats. It is 0.1100 nats better than the baseline a. "
            "The 95% interval over 2 paired seeds (Student's t) is −0.2371 to +0.0171. "
            "That includes zero, so no difference is shown. "
            "2 methods were compared with a, and no interval is corrected for that.",
        ),
        (
            {"a": [2.0], "b": [2.2], "c": [2.1]},
            "the baseline a has the lowest validation loss of 3 methods: 2.0000 nats. Next is c, 0.1000 nats worse than it. "
            "The difference is from one seed, so nothing says how far another would move it. "
            "2 methods were compared with a, and no interval is corrected for that.",
        ),
    ],
    ids=["one method", "one seed", "no gap", "three methods", "three, the baseline ahead"],
)
def test_the_answer_in_a_sentence(make_run: MakeRun, arms: dict[str, list[float]], headline: str) -> None:
    ends = [(method, seed, end) for method, losses in arms.items() for seed, end in enumerate(losses)]
    runs = [make_run(method, {0: 5.0, 100: end}, seed=seed) for method, seed, end in ends]
    assert summary_of(*runs)["headline"] == f"After 100 steps (12.8k tokens) {headline}"
