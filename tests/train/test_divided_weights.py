"""Weights that processes divide (`device.shard on`) train as whole ones do, bit for bit, whatever the method."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from test_divided_updates import Fake
from test_processes import GROUPS, SQUARE, check_bytes, config_of, difference, job, lines, train_together
from torch import Tensor, nn

import together
from ngptlab import build_model, methods
from ngptlab.bench.measure import most_allocated
from ngptlab.config import Dims, RunConfig
from ngptlab.device import Device
from ngptlab.errors import ConfigError
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.roles import Role
from ngptlab.nn.shared import Shared
from ngptlab.overrides import apply
from ngptlab.plan.memory import kept_bytes
from ngptlab.train.lending import Lending, Unit
from ngptlab.train.lends import check_lends
from ngptlab.train.updates import EVERYWHERE, owners
from tiny import tiny_config, write_texts

pytestmark = pytest.mark.timeout(600)

CPU = Device(torch.device("cpu"), torch.float32, compile=False)
LENT = {"shard": "on"}


# --- without processes ------------------------------------------------------------------------------------------------


class Alike(Unit):
    """One of a process among others that have the same weights as it would have, and no gradient."""

    def gather(self) -> list[Tensor]:
        return [
            torch.full(m.parameter.shape, 0.01) if m.parameter.is_meta else m.parameter.detach()
            for m in self.members
        ]


def lent(method: str, dims: Dims, unit: type[Unit] = Alike, rank: int = 0, processes: int = 4) -> Decoder:
    model = build_model(method, dims, seed=0)
    owner = owners(model, processes, whole=EVERYWHERE)
    model.lender = Lending(model, owner, Fake(rank, processes), CPU.place, unit)
    return model


def loss_of(model: Decoder) -> Tensor:
    tokens_BT = torch.arange(2 * 9).view(2, 9) ** 2 * 5 % model.dims.vocab_size
    return model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:])


@pytest.mark.parametrize("recompute", [False, True])
def test_a_pass_has_what_is_owned_and_one_unit_at_a_time(recompute: bool) -> None:
    """A process of a hundred, which owns one matrix at most. A whole model with its gradients would need 81 MB."""
    dims = Dims(vocab_size=512, num_layers=12, num_heads=4, d_model=256, d_ff=704)
    model = lent("gpt", dims, rank=99, processes=100)
    model.recompute = recompute
    block = sum(p.numel() for p in model.blocks[0].parameters()) * 4
    embedding = 512 * 256 * 4
    owned = sum(p.nbytes for p in model.parameters() if not p.is_meta)
    assert owned <= 704 * 256 * 4 and block * 12 > 38e6

    def evaluated() -> None:
        with torch.no_grad():
            loss_of(model)

    # Weights of a block as they are lent, both embeddings; activations of 16 tokens are less than one embedding.
    assert block < most_allocated(evaluated, CPU) < block + 3 * embedding
    # In the backward a block's gradients beside its weights, and no embedding but the one that formed the loss.
    activations = kept_bytes(dims, methods.load("gpt"), 2, 8, recompute=recompute)
    loss_of(model).backward()  # type: ignore[no-untyped-call]
    both = most_allocated(lambda: loss_of(model).backward(), CPU)  # type: ignore[no-untyped-call]
    print(recompute, both, block, embedding, activations)
    assert block < both < 2 * block + activations + 2 * embedding


@pytest.mark.parametrize("method", methods.names()[::4])
def test_a_toy_is_lent_its_weights(method: str) -> None:
    """The slow tests have every method."""
    check_lends(methods.load(method), method, recompute=False)


class Unlent(Alike):
    def weight(self, number: int) -> Tensor:
        return self.members[number].parameter


def test_a_weight_that_is_not_there_is_an_error() -> None:
    """In the backward of a block that is not lent its weights again, and outside of any pass."""
    dims = Dims(vocab_size=64, num_layers=2, num_heads=2, d_model=16)
    with pytest.raises(AssertionError, match="there in its backward"):
        loss_of(lent("gpt", dims, Unlent)).backward()  # type: ignore[no-untyped-call]
    model = lent("gpt", dims)
    with pytest.raises(RuntimeError, match="in another process"):
        model(torch.zeros(1, 4, dtype=torch.long))
    away, here = model.E_out, torch.ones(16, 64)
    for mixed in (
        lambda: here @ away,
        lambda: here.T.mul_(away),
        lambda: here.div_(away.norm()),
        lambda: torch.stack([here.T, away]),
        lambda: F.linear(here.T, away.T.to(here.dtype)),
        lambda: F.embedding(torch.tensor([0]), away),
        lambda: here.T.copy_(away),
    ):
        with pytest.raises(RuntimeError, match="in another process"):
            mixed()
    for read in (lambda: away.sum().item(), lambda: away.cpu(), lambda: bool(away.isfinite().all())):
        with pytest.raises(RuntimeError, match="meta"):
            read()
    assert away.shape == (64, 16) and away.numel() == 1024 and away.nbytes == 4096


def test_a_pass_leaves_the_model_as_it_was() -> None:
    """Also where it ends in an error."""
    model = lent("ngpt", Dims(vocab_size=64, num_layers=2, num_heads=2, d_model=16))
    before = {name: id(p) for name, p in model.named_parameters()}
    loss_of(model).backward()  # type: ignore[no-untyped-call]
    with pytest.raises(Exception, match="out of range"):
        model.loss(torch.full((1, 4), 64), torch.zeros(1, 4, dtype=torch.long))
    assert {name: id(p) for name, p in model.named_parameters()} == before
    assert isinstance(model.lender, Lending) and not model.lender._where


def test_all_make_as_many_passes_as_the_one_with_most() -> None:
    """Because a pass needs all processes."""
    for size in (1, 2, 3):
        for pieces in (range(n) for n in range(7)):
            worlds = [Fake(rank, size) for rank in range(size)]
            assert len({len(world.share(pieces)) + world.has_fewer(pieces) for world in worlds}) == 1


@dataclass(frozen=True)
class UnitModel:
    """All weights together back to unit norm."""

    def build(self, dims: Dims) -> Callable[[nn.Module], None]:
        return self._together

    @torch.no_grad()
    def _together(self, model: nn.Module) -> None:
        norm = torch.stack([p.norm() for p in model.parameters()]).norm()
        for parameter in model.parameters():
            parameter.div_(norm)


@dataclass(frozen=True)
class Peeking:
    """Values plus a number of the block before, which it reads there."""

    def build_at(self, dims: Dims, layer: int) -> nn.Module:
        return _Peek(layer)


class _Peek(nn.Module):
    roles: ClassVar = {"W_p": Role.INNER}
    last: ClassVar[nn.Module | None] = None

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.W_p, self.before = nn.Parameter(torch.empty(1, 1)), [_Peek.last if layer else None]
        _Peek.last = self

    def forward(self, v_BTHK: Tensor, h_BTD: Tensor, shared: Shared) -> Tensor:
        before = self.before[0]
        return v_BTHK * (1 + self.W_p if before is None else 1 + before.W_p + self.W_p)


def test_a_method_that_looks_elsewhere_is_named() -> None:
    gpt = methods.load("gpt")
    for parts in (replace(gpt, after_step=UnitModel()), replace(gpt, value=Peeking())):
        with pytest.raises(
            ConfigError, match=r"^device\.shard on: mine does not work with it, because "
        ) as told:
            check_lends(parts, "mine", recompute=False)
        assert "\n" not in str(told.value)
    check_lends(gpt, "mine", recompute=True)


def test_what_is_refused(tmp_path: Path) -> None:
    config = tiny_config(write_texts(tmp_path / "texts"))
    with pytest.raises(ConfigError, match=r"device\.shard on: a compiled pass wants") as told:
        apply(config, {"device.shard": "on", "device.compile": "on"})
    assert "\n" not in str(told.value)
    assert apply(config, {"device.shard": "on"}).hash == config.hash
    with pytest.raises(ConfigError, match=r"device\.shard"):
        apply(config, {"device.shard": "full"})


# --- two processes ----------------------------------------------------------------------------------------------------

STEPS = 8
FAST = ("ngpt_muon", "ema")
"""Whole matrices, vectors and a constraint; a mean of the weights in the optimizer's state."""


def short(texts: Path, method: str, **device: Any) -> RunConfig:
    settings = {"steps": STEPS, "batch_size": 8, "context": 16, "non_finite": "rewind"}
    sections = {"eval": {"every": 4}, "checkpoint": {"every": 2}, "model": {"num_layers": 2}}
    return config_of(texts, method, train=settings, device=device, **sections)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs of this module's fast tests, because torch is imported once for them."""
    folder = tmp_path_factory.mktemp("weights")
    texts = write_texts(folder / "texts")
    jobs = []
    for method in FAST:
        again = {"recompute": "on"} if method == "ngpt_muon" else {}
        jobs.append(job(short(texts, method), folder / f"{method}-plain", 2))
        jobs.append(job(short(texts, method, **LENT, **again), folder / f"{method}-lent", 2, held=True))
    lending, alone = short(texts, "ema", **LENT), short(texts, "ema")
    for stage, (config, processes, micro) in enumerate([(lending, 2, 0), (alone, 1, 4), (lending, 2, 0)]):
        at = {"what": 15, "rank": processes - 1, "step": 2 * stage + 1}
        jobs.append(
            job(
                config,
                folder / "moved",
                processes,
                micro,
                stage=stage,
                **({"happens": at} if stage < 2 else {}),
            )
        )
    jobs += [
        job(short(texts, "ngpt_muon", **LENT), folder / name, 2, broken=name)
        for name in together.BROKEN_LENDING
    ]
    train_together(jobs, folder, 550)
    return folder


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the slow tests."""
    folder = tmp_path_factory.mktemp("more")
    texts = write_texts(folder / "texts")
    bad = {"where": "loss", "rank": 1, "step": 5}
    stops = apply(short(texts, "gpt", **LENT), {"train.non_finite": "stop"})
    jobs = [
        job(short(texts, "ema"), folder / "back-plain", 2, not_finite=bad),
        job(short(texts, "ema", **LENT), folder / "back-lent", 2, not_finite=bad),
        job(short(texts, "gpt"), folder / "gpt-plain", 2),
        job(stops, folder / "diverged", 2, not_finite=bad),
        job(short(texts, "gpt"), folder / "64-1", 1, float64=True),
        job(short(texts, "gpt", **LENT), folder / "64-2", 2, 1, float64=True),
        job(short(texts, "gpt", **LENT), folder / "64-4", 4, float64=True),
    ]
    train_together(jobs, folder, 550)
    return folder


def check_same(a: Path, b: Path) -> None:
    check_bytes(a, b, STEPS)
    assert not [*a.parent.glob(f"{a.name}*.error"), *b.parent.glob(f"{b.name}*.error")]


@pytest.mark.parametrize("method", FAST)
def test_divided_weights_give_the_same_bytes(method: str, runs: Path) -> None:
    check_same(runs / f"{method}-plain", runs / f"{method}-lent")
    if method == "ngpt_muon":
        assert lines(runs / f"{method}-plain", "scales") == lines(runs / f"{method}-lent", "scales") != []


@pytest.mark.parametrize("method", FAST)
def test_a_process_keeps_what_it_owns(method: str, runs: Path) -> None:
    """Weights, gradients and state; and no other tensor of a weight's size is alive after a step."""
    config = short(runs / "texts", method)
    model = Decoder(config.model, methods.load(method))
    owner = owners(model, 2, whole=EVERYWHERE)
    told = [
        [json.loads(line) for line in (runs / f"{method}-lent.{rank}.held").read_text().splitlines()]
        for rank in (0, 1)
    ]
    for rank in (0, 1):
        own = sum(p.nbytes for name, p in model.named_parameters() if owner[name] in (None, rank))
        for held in told[rank]:
            assert held["weights"] == own
            # Gradients are views of buckets, of which the one of vectors has the loss and signals beside them.
            assert own <= held["gradients"] <= own + 4 * 128
            assert held["alive"] <= held["weights"] + held["moments"]
    vectors = sum(p.nbytes for name, p in model.named_parameters() if owner[name] is None)
    whole = sum(p.nbytes for p in model.parameters())
    assert told[0][0]["weights"] + told[1][0]["weights"] == whole + vectors


def test_a_divided_run_moves_to_one_process_and_back(runs: Path) -> None:
    """Stopped twice by a signal; alone it has all of it."""
    assert (runs / "moved.0.stopped").read_text().splitlines() == [
        f"stopped by SIGTERM after step {step}; saved" for step in (2, 4)
    ]
    check_same(runs / "ema-plain", runs / "moved")


@pytest.mark.slow
def test_a_divided_run_goes_back(more: Path) -> None:
    """From a loss that is not finite to the checkpoint before, whose weights and state each owner gets again."""
    check_same(more / "back-plain", more / "back-lent")
    assert lines(more / "back-lent", "skipped") == lines(more / "back-plain", "skipped") != []


@pytest.mark.slow
def test_other_splits_differ_by_noise(more: Path) -> None:
    """Micro-batches are summed over processes one after another, and four processes in an order of gloo's."""
    for processes in (2, 4):
        found = difference(more / "64-1", more / f"64-{processes}")
        print(processes, found)
        assert found.is_noise


@pytest.mark.parametrize("broken", list(together.BROKEN_LENDING))
def test_what_is_broken_has_other_bytes(broken: str, runs: Path) -> None:
    found = difference(runs / "ngpt_muon-plain", runs / broken)
    print(broken, found)
    assert found.weights > 1e-4


@pytest.mark.slow
def test_all_weights_are_left_to_look_at(more: Path) -> None:
    said = [(more / f"diverged.{rank}.error").read_text() for rank in (0, 1)]
    assert said[0] == said[1] and "step 6: loss nan" in said[0]
    assert (more / "diverged" / "non_finite" / "state.json").exists()
    kept = load_file(more / "diverged" / "non_finite" / "model.safetensors")
    whole = load_file(more / "gpt-plain" / "checkpoints" / f"step_{STEPS:06d}" / "model.safetensors")
    assert {n: t.shape for n, t in kept.items()} == {n: t.shape for n, t in whole.items()}
    assert all(bool(t.isfinite().all()) for t in kept.values())


# --- every method -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("names", [methods.names()[i::GROUPS] for i in range(GROUPS)], ids="+".join)
def test_every_method(names: list[str], tmp_path: Path) -> None:
    """At two processes in float32; at four with micro-batches of one whose blocks are computed twice in float64."""
    texts = write_texts(tmp_path / "texts")
    jobs = []
    for method in names:
        settings = {"model": {"num_layers": 2}, **SQUARE.get(method, {})}
        for name, device in (("plain", {}), ("lent", LENT)):
            jobs.append(
                job(config_of(texts, method, device=device, **settings), tmp_path / f"{method}-{name}", 2)
            )
        again = {**LENT, "recompute": "on"}
        jobs.append(job(config_of(texts, method, **settings), tmp_path / f"{method}-64-1", 1, float64=True))
        jobs.append(
            job(
                config_of(texts, method, device=again, **settings),
                tmp_path / f"{method}-64-4",
                4,
                1,
                float64=True,
            )
        )
    train_together(jobs, tmp_path, 1700)
    assert not list(tmp_path.glob("*.error"))
    for method in names:
        check_bytes(tmp_path / f"{method}-plain", tmp_path / f"{method}-lent")
        found = difference(tmp_path / f"{method}-64-1", tmp_path / f"{method}-64-4")
        print(method, found)
        assert found.is_noise, method
