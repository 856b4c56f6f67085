"""A method with seams lent by another is a method like any other: it resolves, trains, hashes and resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from ngptlab import ConfigError, Parts, RunConfig, methods
from ngptlab import config as configs
from ngptlab.experiment import train
from ngptlab.train.progress import Silent

MakeConfig = Callable[..., RunConfig]
SEAMS = [field.name for field in fields(Parts)]
SOME = {"after_step": "ngpt", "residual": "ngpt", "gate": "ngpt"}

NEXT = [*methods.names()[1:], methods.names()[0]]
# Each method borrows once and lends once, because all pairs are too many.
every_neighbour = pytest.mark.parametrize(("own", "other"), list(zip(methods.names(), NEXT, strict=True)))


@every_neighbour
def test_all_seams_lent_is_the_other_method(own: str, other: str) -> None:
    assert methods.load(own, dict.fromkeys(SEAMS, other)) == methods.load(other)
    assert methods.load(own, {}) == methods.load(own)


@every_neighbour
def test_one_seam_lent_is_that_seam_alone(own: str, other: str) -> None:
    for seam in SEAMS:
        mixed = methods.load(own, {seam: other})
        for name in SEAMS:
            assert getattr(mixed, name) == getattr(methods.load(other if name == seam else own), name)


def numbers(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@every_neighbour
def test_all_seams_lent_gives_the_other_method_bit_for_bit(
    own: str, other: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    """The hash differs, for the config does; losses, gradients and learning rates over two steps do not."""
    short: dict[str, Any] = {"train": {"steps": 2}, "schedule": {"warmup_steps": None, "cooldown_frac": 0.5}}
    plain = make_config(other, **short)
    mixed = make_config(own, seams=dict.fromkeys(SEAMS, other), **short)
    assert mixed.optim == plain.optim and mixed.schedule == plain.schedule
    assert mixed.hash != plain.hash
    ends = [train(config, tmp_path / config.hash).path for config in (plain, mixed)]
    assert numbers(ends[0]) == numbers(ends[1])


def test_a_mixed_run_is_neither_method(make_config: MakeConfig, tmp_path: Path) -> None:
    """What the equality above would not see: a `seams` that is never read."""
    configs_ = [make_config("gpt"), make_config("gpt", seams=SOME)]
    paths = [train(config, tmp_path / config.hash).path for config in configs_]
    assert numbers(paths[0])[0]["loss_nats"] != numbers(paths[1])[0]["loss_nats"]
    names = load_file(sorted((paths[1] / "checkpoints").glob("step_*"))[-1] / "model.safetensors").keys()
    assert any("alpha" in name for name in names) and not any("s_qk" in name for name in names)


def test_a_seam_lent_what_it_has_is_taken_out(make_config: MakeConfig) -> None:
    plain = make_config("gpt")
    same = make_config("gpt", seams={"norm": "qk_norm", "gate": "gpt"})
    assert same == plain and same.hash == plain.hash
    partly = make_config("gpt", seams={"norm": "qk_norm", "qk": "qk_norm"})
    assert partly.seams.lenders == {"qk": "qk_norm"} and partly.arm == "gpt+qk_norm.qk"


def test_decay_and_warmup_follow_their_seams(make_config: MakeConfig) -> None:
    own: dict[str, Any] = {"schedule": {"warmup_steps": None}, "train": {"steps": 1000}}
    lent = make_config("gpt", seams={"weight_decay": "ngpt", "warmup_steps": "ngpt"}, **own)
    assert (lent.optim.weight_decay, lent.schedule.warmup_steps) == (0.0, 0)
    assert (
        make_config("gpt", **own).optim.weight_decay,
        make_config("gpt", **own).schedule.warmup_steps,
    ) == (
        0.1,
        50,
    )
    half = make_config("gpt", seams={"warmup_steps": "ngpt"}, **own)
    assert (half.optim.weight_decay, half.schedule.warmup_steps) == (0.1, 0)


def test_an_unknown_lender_or_seam_is_one_line(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="'npgt'; did you mean 'ngpt'"):
        make_config("gpt", seams={"norm": "npgt"})
    with pytest.raises(ConfigError, match=r"seams\.nrom is not a field"):
        make_config("gpt", seams={"nrom": "ngpt"})


def test_config_file_round_trips(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("gpt", seams=SOME)
    path = tmp_path / "config.json"
    path.write_text(configs.dump(config))
    again = methods.resolve(configs.load(path))
    assert again == config and again.hash == config.hash and again.run_name == config.run_name


class Break(Exception):
    pass


class BreakAt(Silent):
    def step(self, step: int, **facts: float) -> None:
        if step == 5:
            raise Break


def test_a_mixed_run_resumes_exactly(
    make_config: MakeConfig, outcome: Callable[[Path], dict[str, bytes]], tmp_path: Path
) -> None:
    config = make_config("gpt", seams=SOME)
    straight = train(config, tmp_path / "straight")
    with pytest.raises(Break):
        train(config, tmp_path / "broken", reporter=BreakAt())
    # As the command line would: from the file that the run wrote.
    again = train(configs.load(tmp_path / "broken" / "config.json"), tmp_path / "broken")
    assert outcome(again.path) == outcome(straight.path)
    with pytest.raises(ConfigError, match=r"seams\.gate: ngpt -> None"):
        train(make_config("gpt", seams={k: v for k, v in SOME.items() if k != "gate"}), tmp_path / "broken")


def test_parts_that_do_not_fit_each_other_are_one_line(make_config: MakeConfig, tmp_path: Path) -> None:
    """Scales of queries' heads meet half as many heads of keys."""
    sizes = {"vocab_size": 257, "num_layers": 1, "num_heads": 4, "d_model": 16}
    with pytest.raises(ConfigError, match=r"ngpt\+gqa\.attention: parts of these methods don't fit"):
        train(make_config("ngpt", seams={"attention": "gqa"}, model=sizes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
