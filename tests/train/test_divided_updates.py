"""Updates that processes divide (`device.shard optimizer`) are those of one process, bit for bit, whatever the method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_processes import GROUPS, SQUARE, check_bytes, config_of, difference, job, lines, train_together

import together
from ngptlab import build_model, methods
from ngptlab.config import DeviceConfig, Dims, OptimConfig, RunConfig
from ngptlab.errors import ConfigError
from ngptlab.methods.lion import Lion, LionForAll
from ngptlab.nn.optimizers import Groups
from ngptlab.nn.roles import Role
from ngptlab.optim.groups import make_optimizer
from ngptlab.train.checkpoint import list_checkpoints, optimizer_tensors
from ngptlab.train.divided import check_divides
from ngptlab.train.updates import OwnUpdates, Updates, owners, update_values, updates
from ngptlab.world.world import ALONE, World
from tiny import write_texts

pytestmark = pytest.mark.timeout(600)

SHARDED = {"shard": "optimizer"}
DIMS = Dims(vocab_size=257, num_layers=3, num_heads=2, d_model=32)


class Fake(World):
    """One of several processes, which the others tell nothing."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


# --- without processes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", methods.names())
def test_owners_keep_all_of_the_state_between_them(method: str) -> None:
    """What three processes keep is what one keeps, each tensor in one of them, unless the optimizer itself talks to others."""
    kept: list[dict[str, torch.Tensor]] = []
    for world in (ALONE, *(Fake(rank, 3) for rank in range(3))):
        model = build_model(method, DIMS, seed=0)
        optimizer = make_optimizer(model, OptimConfig(weight_decay=0.1))
        tokens_BT = torch.arange(2 * 9).view(2, 9) ** 2 * 5 % 257
        model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).backward()  # type: ignore[no-untyped-call]
        updates(DeviceConfig(shard="optimizer"), model, optimizer, world).step()
        kept.append(optimizer_tensors(model, optimizer))
    check_divides(methods.load(method), method)
    whole, *parts = kept
    owner = owners(model, 3)
    for entry, tensor in whole.items():
        having = [rank for rank, part in enumerate(parts) if entry in part]
        number = owner[entry.rpartition(":")[0]]
        assert having == ([0, 1, 2] if number is None else [number])
        assert all(torch.equal(parts[rank][entry], tensor) for rank in having)
    assert set().union(*parts) == set(whole)


def test_a_process_has_at_most_a_parameter_more_than_its_share() -> None:
    model = build_model("muon", Dims(vocab_size=64, num_layers=8, num_heads=2, d_model=32), seed=0)
    sizes = {name: size or 0 for name, size in update_values(model).items()}
    for processes in (2, 3, 8):
        owner = owners(model, processes)
        loads = [sum(sizes[name] for name in sizes if owner[name] == number) for number in range(processes)]
        assert sum(loads) == sum(sizes.values())
        assert max(loads) - min(loads) <= max(sizes.values())


class Together(Lion):
    """As long a step for all, by the norm of all gradients."""

    def step(self, closure: Any = None) -> None:
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.stack([grad.norm() for grad in grads]).norm()
        with torch.no_grad():
            for group in self.param_groups:
                for weight in (p for p in group["params"] if p.grad is not None):
                    weight.sub_(weight.grad * group["lr"] / norm)


@dataclass(frozen=True)
class TogetherForAll(LionForAll):
    said: bool = False

    def talks(self, role: Role) -> bool:
        return self.said

    def one(self, kind: str, groups: Groups, config: OptimConfig) -> Lion:
        return Together(groups, betas=self.betas)


def test_an_optimizer_that_looks_at_several_parameters_is_named() -> None:
    gpt = methods.load("gpt")
    with pytest.raises(
        ConfigError, match=r"^device\.shard: mine does not work with it.*moves .* by more than"
    ) as told:
        check_divides(replace(gpt, optimizer=TogetherForAll()), "mine")
    assert "\n" not in str(told.value)
    check_divides(replace(gpt, optimizer=TogetherForAll(said=True)), "mine")


def test_alone_nothing_is_divided() -> None:
    model = build_model("gpt", DIMS, seed=0)
    optimizer = make_optimizer(model, OptimConfig(weight_decay=0.1))
    assert type(updates(DeviceConfig(**SHARDED), model, optimizer, ALONE)) is Updates  # type: ignore[arg-type]
    assert type(updates(DeviceConfig(), model, optimizer, Fake(0, 2))) is Updates
    assert type(updates(DeviceConfig(**SHARDED), model, optimizer, Fake(0, 2))) is OwnUpdates  # type: ignore[arg-type]


# --- two processes ----------------------------------------------------------------------------------------------------

STEPS = 12
FAST = ("ngpt_muon", "ema")
"""Whole matrices and a constraint; a mean of the weights in the optimizer's state."""


def short(texts: Path, method: str, **device: Any) -> RunConfig:
    settings = {"steps": STEPS, "batch_size": 8, "context": 16, "non_finite": "rewind"}
    return config_of(texts, method, train=settings, eval={"every": 6}, checkpoint={"every": 4}, device=device)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs of this module's fast tests, because torch is imported once for them."""
    folder = tmp_path_factory.mktemp("shards")
    texts = write_texts(folder / "texts")
    jobs = []
    for method in FAST:
        jobs.append(job(short(texts, method), folder / f"{method}-plain", 2))
        jobs.append(job(short(texts, method, **SHARDED), folder / f"{method}-shard", 2))
    moves = short(texts, "ema", **SHARDED), short(texts, "ema", recompute="on")
    for stage, (config, processes, micro) in enumerate(
        [(moves[0], 2, 0), (moves[1], 1, 4), (moves[0], 2, 0)]
    ):
        at = {"what": 15, "rank": processes - 1, "step": 4 * stage + 3}
        stops = {"happens": at} if stage < 2 else {}
        jobs.append(job(config, folder / "moved", processes, micro, stage=stage, **stops))
    bad = {"where": "gradient", "rank": 1, "step": 6}
    for name, device in (("back-plain", {}), ("back-shard", SHARDED)):
        jobs.append(job(short(texts, "ema", **device), folder / name, 2, not_finite=bad))
    jobs += [
        job(short(texts, "ema", **SHARDED), folder / name, 2, broken=name) for name in together.BROKEN_SHARDS
    ]
    train_together(jobs, folder, 550)
    return folder


def check_same(a: Path, b: Path) -> None:
    check_bytes(a, b, STEPS)
    assert not [*a.parent.glob(f"{a.name}*.error"), *b.parent.glob(f"{b.name}*.error")]


@pytest.mark.parametrize("method", FAST)
def test_divided_updates_give_the_same_bytes(method: str, runs: Path) -> None:
    check_same(runs / f"{method}-plain", runs / f"{method}-shard")


def test_a_divided_run_moves_to_one_process_and_back(runs: Path) -> None:
    """Stopped twice by a signal; alone its blocks are computed twice."""
    assert (runs / "moved.0.stopped").read_text().splitlines() == [
        f"stopped by SIGTERM after step {step}; saved" for step in (4, 8)
    ]
    check_same(runs / "ema-plain", runs / "moved")


def test_a_divided_run_goes_back(runs: Path) -> None:
    """From a gradient that is not finite to the checkpoint before, whose state each owner gets again."""
    check_same(runs / "back-plain", runs / "back-shard")
    assert lines(runs / "back-shard", "skipped") == lines(runs / "back-plain", "skipped") != []


def test_a_stale_owner_is_an_error(runs: Path) -> None:
    for rank in (0, 1):
        said = (runs / f"stale_owner.{rank}.error").read_text()
        assert said.count("\n") == 1 and "step 4: " in said and "of process 1 differs" in said
    assert not list_checkpoints(runs / "stale_owner" / "checkpoints")


def test_what_is_broken_has_other_bytes(runs: Path) -> None:
    for name in ("nobody_owns", "own_part_norm"):
        found = difference(runs / "ema-plain", runs / name)
        print(name, found)
        assert found.weights > 1e-4
    last = f"checkpoints/step_{STEPS:06d}"
    plain, behind = runs / "ema-plain" / last, runs / "state_left_behind" / last
    assert (plain / "model.safetensors").read_bytes() == (behind / "model.safetensors").read_bytes()
    whole, part = ((run / "optimizer.safetensors").stat().st_size for run in (plain, behind))
    assert part < 0.7 * whole


# --- every method -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("names", [methods.names()[i::GROUPS] for i in range(GROUPS)], ids="+".join)
def test_every_method(names: list[str], tmp_path: Path) -> None:
    """At two processes, and at four with micro-batches of one whose blocks are computed twice; test_processes has the rest."""
    texts = write_texts(tmp_path / "texts")
    jobs = []
    for method in names:
        for processes, micro in ((2, 0), (4, 1)):
            for name, device in (
                ("plain", {}),
                ("shard", {**SHARDED, "recompute": "on" if micro else "off"}),
            ):
                config = config_of(texts, method, device=device, **SQUARE.get(method, {}))
                jobs.append(job(config, tmp_path / f"{method}-{processes}-{name}", processes, micro))
    train_together(jobs, tmp_path, 1700)
    for method in names:
        for processes in (2, 4):
            check_bytes(tmp_path / f"{method}-{processes}-plain", tmp_path / f"{method}-{processes}-shard")
    assert not list(tmp_path.glob("*.error"))
    assert len(lines(tmp_path / f"{names[0]}-4-shard")) == len(lines(tmp_path / f"{names[0]}-4-plain"))
