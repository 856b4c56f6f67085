"""Methods that change what happens from update to update, against a training written out: rates, decays, batches, means.

The written-out training is a loop around torch's AdamW, with `variants.py` for what differs. A method's run must have its losses;
with any of the wrong equations it must not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import variants

from ngptlab import Dims, RunConfig, build_model, methods
from ngptlab.config import ScheduleConfig
from ngptlab.data.batches import Batches
from ngptlab.data.corpus import open_data
from ngptlab.errors import ConfigError
from ngptlab.experiment import initial_model, open_setting, train
from ngptlab.measure.val.measure import validation_loss
from ngptlab.methods.ema import Exponential
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.structure import Schedule, When
from ngptlab.optim.pace import pace
from ngptlab.optim.schedule import lr_factor
from ngptlab.overrides import apply
from ngptlab.train.average import EVAL, Average

MakeConfig = Callable[..., RunConfig]
STEPS, WARMUP, COOLDOWN, BATCH = 10, 2, 3, 4
SIZES: dict[str, Any] = {
    "train": {"steps": STEPS, "batch_size": BATCH},
    "schedule": {"warmup_steps": WARMUP, "cooldown_frac": COOLDOWN / STEPS},
    # So large that decay and rate are seen after ten updates.
    "optim": {"lr": 0.02, "weight_decay": 2.0},
}
DECAY = 2.0
ONE = Dims(vocab_size=5, num_layers=1, num_heads=1, d_model=2)
AGREE, DISAGREE = 1e-5, 1e-3
"""Nats. A factor that is rounded otherwise moves a weight by a rounding of float32, which ten updates make some 1e-6 of the
loss; sums of micro-batches in another order do as much. The mildest wrong equation here gives some 1e-2."""


@dataclass(frozen=True)
class Updates:
    """What an update has, by its number: a rate over the peak, a decay over its own, sequences."""

    rate: Callable[[int], float]
    decay: Callable[[int], float] = lambda step: 1.0
    batch: Callable[[int], int] = lambda step: BATCH


def usual(step: int) -> float:
    return float(variants.warmup_and_cooldown(step, STEPS, WARMUP, COOLDOWN))


def thirds(step: int) -> int:
    return variants.batch_of_thirds(step, STEPS, BATCH)


def by_root(step: int, exponent: float = 0.5) -> float:
    return usual(step) * (thirds(step) / BATCH) ** exponent


UPDATES = {
    "gpt": Updates(usual),
    "ema": Updates(usual),
    "fading_decay": Updates(usual, lambda step: float(variants.fading(step, STEPS))),
    "log_schedule": Updates(lambda step: variants.logarithmic(step, STEPS)),
    "batch_warmup": Updates(by_root, batch=thirds),
}
WRONG: dict[str, dict[str, dict[str, Any]]] = {
    "fading_decay": {
        "the decay stays": {"decay": lambda step: 1.0},
        "it falls from the second update on": {
            "decay": lambda step: float(variants.fading(max(0, step - 1), STEPS))
        },
        "it falls with the rate": {"decay": usual},
    },
    "log_schedule": {
        "the config's shape": {"rate": usual},
        "times the config's shape": {"rate": lambda step: usual(step) * variants.logarithmic(step, STEPS)},
        "another rho": {"rate": lambda step: variants.logarithmic(step, STEPS, rho=0.2)},
    },
    "batch_warmup": {
        "one size": {"batch": lambda step: BATCH},
        "no factor on the rate": {"rate": usual},
        "a factor that grows with the batch itself": {"rate": partial(by_root, exponent=1)},
        "the leftover step is in the last third": {"batch": lambda step: (2, 4, 6, 6)[step * 3 // STEPS]},
    },
}


def written_out(config: RunConfig, updates: Updates) -> list[float]:
    """Loss of each update: windows in their order, one after the other, whatever the size of a batch."""
    model, order, losses = initial_model(config), one_by_one(config), list[float]()
    optim = config.optim
    adamw = torch.optim.AdamW(model.parameters(), betas=optim.betas, eps=optim.eps, fused=True)
    for step in range(STEPS):
        rows = [next(order) for _ in range(updates.batch(step))]
        inputs, targets = (torch.from_numpy(np.concatenate(part)) for part in zip(*rows, strict=True))
        loss = model.loss(inputs, targets)
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), optim.grad_clip)
        for group in adamw.param_groups:
            group["lr"] = optim.lr * updates.rate(step)
            group["weight_decay"] = DECAY * updates.decay(step)
        adamw.step()
        adamw.zero_grad()
    return losses


def one_by_one(config: RunConfig) -> Any:
    """Every window of the training text in the order of the data's seed."""
    single = Batches(
        open_data(config).train, context=config.train.context, batch_size=1, seed=config.data.seed
    )
    return (single.at(number) for number in range(10**6))


def losses_of(run: Path | Any) -> list[float]:
    return [line["loss_nats"] for line in run.read("metrics")]


def off(found: list[float], expected: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("method", UPDATES)
def test_a_run_has_the_losses_of_the_equations_and_of_no_wrong_ones(
    method: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(method, **SIZES)
    run = train(config, tmp_path / "run")
    found, updates = losses_of(run), UPDATES[method]
    assert off(found, written_out(config, updates)) < AGREE
    for what, slip in WRONG.get(method, {}).items():
        assert off(found, written_out(config, replace(updates, **slip))) > DISAGREE, what
    met = [
        sum(updates.batch(step) for step in range(done)) * config.train.context
        for done in range(1, STEPS + 1)
    ]
    assert [line["tokens"] for line in run.read("metrics")] == met
    assert met[-1] == config.train.tokens == run.summary["tokens"], "as many as the baseline meets"
    rates = [config.optim.lr * updates.rate(step) for step in range(STEPS)]
    assert [line["lr"] for line in run.read("metrics")] == pytest.approx(rates, rel=1e-12)


# ---- the mean of the weights -----------------------------------------------------------------------------


def test_the_mean_of_weights_is_measured_beside_them(make_config: MakeConfig, tmp_path: Path) -> None:
    """And changes nothing of them: the run is the baseline's, bit for bit."""
    config = make_config("ema", **SIZES, eval={"every": 3})
    plain, seen = make_config("gpt", **SIZES, eval={"every": 3}), list[variants.Weights]()
    with pytest.MonkeyPatch.context() as patch:

        def add(self: Average, updates: int) -> None:
            seen.append({name: p.detach().double().clone() for name, p in self._model.named_parameters()})
            original(self, updates)

        original = Average.add
        patch.setattr(Average, "add", add)
        run = train(config, tmp_path / "ema")
    assert run.content("metrics") == train(plain, tmp_path / "gpt").content("metrics")
    held_out = open_setting(config).held_out
    found = {line["step"]: line["loss_nats"] for line in run.read("evals") if line["eval"] == EVAL}
    raw = {line["step"]: line["loss_nats"] for line in run.read("evals") if line["eval"] == "val"}
    assert list(found) == [3, 6, 9, 10] and list(raw) == [0, *found]
    for step, loss in found.items():
        # An average over ten updates is a plain mean; a decay of 0.8 forgets sooner, and the weights themselves at once.
        model = build_model("gpt", config.model)
        model.load_state_dict(variants.mean_of_weights(seen[:step]))
        assert loss == pytest.approx(
            validation_loss(model, held_out.inputs_NT, held_out.targets_NT, text_bytes=1)["loss_nats"],
            abs=1e-5,
        )
        model.load_state_dict(variants.mean_of_weights(seen[:step], decay=0.5))
        assert (
            abs(
                loss
                - validation_loss(model, held_out.inputs_NT, held_out.targets_NT, text_bytes=1)["loss_nats"]
            )
            > 1e-3
        )
        assert abs(loss - raw[step]) > 1e-3


def test_a_mean_keeps_as_much_as_the_equation_says() -> None:
    stays = Exponential().build(ONE)
    drawn = torch.randn(600, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = drawn[0]
    for number, weight in enumerate(drawn, start=1):
        mean = stays(number) * mean + (1 - stays(number)) * weight
    weights = [{"w": weight} for weight in drawn]
    torch.testing.assert_close(mean, variants.mean_of_weights(weights)["w"], rtol=1e-12, atol=1e-12)
    other = variants.mean_of_weights(weights, decay=0.99)["w"]
    assert (mean - other).abs().max() > 1e-3


def test_an_optimizer_that_keeps_no_state_has_no_place_for_a_mean(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights were measured as their own mean, and nothing said so."""
    monkeypatch.setattr(
        AdamW, "one", lambda self, kind, groups, config: torch.optim.SGD(groups, lr=config.lr)
    )
    with pytest.raises(ConfigError, match=r"average: the optimizer keeps no state for \w+.*; take another"):
        train(make_config("ema"), tmp_path / "run")
    assert train(make_config("gpt"), tmp_path / "plain").done


# ---- one source of the schedule --------------------------------------------------------------------------


def test_the_usual_schedule_is_the_config_s_bit_for_bit(make_config: MakeConfig) -> None:
    for shape in ("wsd", "cosine", "constant"):
        config = make_config("gpt", schedule={"shape": shape})
        assert [pace(config, Schedule(), step) for step in range(8)] == [
            (lr_factor(config, step), 1.0) for step in range(8)
        ]


def test_a_schedule_has_one_source(make_config: MakeConfig) -> None:
    assert make_config("log_schedule").schedule.shape == "method"
    assert make_config("fading_decay").schedule.shape == make_config("batch_warmup").schedule.shape == "wsd"
    assert make_config("gpt", seams={"schedule": "log_schedule"}).schedule.shape == "method"
    assert make_config("log_schedule", seams={"schedule": "gpt"}).schedule.shape == "wsd"
    with pytest.raises(
        ConfigError, match=r"schedule\.shape cosine: log_schedule has a schedule of its own, Logarithmic\("
    ):
        make_config("log_schedule", schedule={"shape": "cosine"})
    with pytest.raises(ConfigError, match=r"schedule\.shape method: gpt has none of its own"):
        make_config("gpt", schedule={"shape": "method"})


@dataclass(frozen=True)
class WarmedUp:
    """A shape of its own that reads the config's warm-up."""

    def build(self, dims: Dims) -> Schedule:
        return _WarmedUp()


class _WarmedUp(Schedule):
    own_shape = True

    def lr(self, when: When) -> float:
        return min(1.0, (when.step + 1) / max(1, when.warmup_steps))


def test_what_a_schedule_of_its_own_does_not_read_is_no_setting(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_config("log_schedule")
    assert plain.schedule == ScheduleConfig(shape="method", warmup_steps=1)
    for given in ({"cooldown_frac": 0.1}, {"cooldown_shape": "1-sqrt"}, {"warmup_steps": 6}):
        assert make_config("log_schedule", schedule=given).hash == plain.hash
        assert make_config("gpt", schedule=given).hash != make_config("gpt").hash
    own = replace(methods.load("log_schedule"), schedule=WarmedUp())
    monkeypatch.setattr(methods, "load", lambda *names: own)
    assert make_config("log_schedule", schedule={"warmup_steps": 6}).schedule.warmup_steps == 6


# ---- stages of the batch ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "batch"), [(10, 4), (9, 2), (11, 6), (2, 4), (600, 32)])
def test_stages_are_thirds(steps: int, batch: int, make_config: MakeConfig) -> None:
    config = make_config(
        "batch_warmup", train={"steps": steps, "batch_size": batch}, schedule={"warmup_steps": 0}
    )
    assert config.train.batch_stages == (0.5, 1.0, 1.5)
    found = [config.train.sequences(step) for step in range(steps)]
    assert found == [variants.batch_of_thirds(step, steps, batch) for step in range(steps)]
    assert [config.train.sequences_before(step) for step in range(steps + 1)] == [
        sum(found[:n]) for n in range(steps + 1)
    ]
    assert config.train.largest_batch == max(found)


def test_stages_are_a_default_that_a_config_may_change(make_config: MakeConfig) -> None:
    plain = make_config("batch_warmup", train={"batch_stages": ()})
    assert {plain.train.sequences(step) for step in range(8)} == {4}
    other = make_config("gpt", train={"batch_stages": (0.5, 1.5)})
    assert [other.train.sequences(step) for step in range(8)] == [2, 2, 2, 2, 6, 6, 6, 6]
    assert apply(make_config("gpt"), {"train.batch_stages": "0.5,1.5"}) == other
    assert other.hash != make_config("gpt").hash == make_config("gpt", train={"batch_stages": ()}).hash
    for train_, device, said in (
        ({"batch_stages": (0.5, 1.0)}, {}, r"0\.75 on average; give 1 on average"),
        (
            {"batch_size": 3, "batch_stages": (0.5, 1.5)},
            {},
            r"0\.5 of train\.batch_size 3 is no whole number",
        ),
        ({"batch_stages": (0.5, 1.5)}, {"micro_batch": 4}, "must divide a stage's batch of 2"),
    ):
        with pytest.raises(ConfigError, match=said):
            make_config("gpt", train=train_, device=device)


def test_a_stage_of_no_steps_is_held_against_no_micro_batch(make_config: MakeConfig) -> None:
    """9 steps are three stages of 3, 3 and 6 sequences; 10 leave one step of 4 over."""
    even = {"batch_size": 4, "batch_stages": (0.75, 0.75, 1.5)}
    assert make_config("gpt", train={**even, "steps": 9}, device={"micro_batch": 3}).train.sequences(8) == 6
    with pytest.raises(ConfigError, match=r"micro_batch 3 must divide train\.batch_size 4"):
        make_config("gpt", train={**even, "steps": 10}, device={"micro_batch": 3})


def test_micro_batches_of_a_growing_batch_add_up(make_config: MakeConfig, tmp_path: Path) -> None:
    """Also where sequences are cut, so that a stage's batch has more rows than sequences."""
    for method, seams in (("batch_warmup", {}), ("batch_warmup", {"context": "seqlen_warmup"})):
        runs = [
            train(
                make_config(method, **SIZES, seams=seams, device={"micro_batch": micro}),
                tmp_path / f"{micro}{len(seams)}",
            )
            for micro in (0, 2)
        ]
        assert off(losses_of(runs[0]), losses_of(runs[1])) < AGREE


def test_the_factor_of_a_batch_is_of_its_size() -> None:
    schedule = methods.load("batch_warmup").schedule.build(ONE)
    assert [schedule.lr(When(0, 9, 0, batch)) for batch in (0.25, 1.0, 4.0)] == [0.5, 1.0, 2.0]
