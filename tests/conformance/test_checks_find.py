"""Each check finds a method that breaks its rule, and says in a sentence what to mend."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ngptlab import methods
from ngptlab.config import Dims
from ngptlab.conformance import checks, models
from ngptlab.conformance.checks import CHECKS, Broken
from ngptlab.conformance.run import check
from ngptlab.methods.gqa import GroupedQueries
from ngptlab.nn.blocks import Attention
from ngptlab.nn.decoder import Parts
from ngptlab.nn.parts import Scale
from ngptlab.nn.shared import Shared, previous
from ngptlab.nn.structure import Embed

GPT = methods.load("gpt")


@dataclass(frozen=True)
class Norm:
    """A norm of a module that a test wrote; `settings` are what the module is made with."""

    kind: type[nn.Module]
    settings: tuple[Any, ...] = ()

    def build(self, dims: Dims) -> nn.Module:
        return self.kind(*self.settings)


class Listening(nn.Module):
    """Takes the mean over all positions away."""

    def forward(self, h_BTD: Tensor) -> Tensor:
        return h_BTD - 0.1 * h_BTD.mean(dim=1, keepdim=True)


class ByLength(nn.Module):
    """Depends on how many tokens it is given."""

    def forward(self, h_BTD: Tensor) -> Tensor:
        return h_BTD * (1 + 0.01 * h_BTD.shape[1])


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.s_u = Scale(4, init=1.0, scale=1.0)

    def forward(self, h_BTD: Tensor) -> Tensor:
        return h_BTD


class Drawing(nn.Module):
    def forward(self, h_BTD: Tensor) -> Tensor:
        return h_BTD + 0.01 * torch.randn_like(h_BTD)


class Counting(nn.Module):
    """Keeps what no checkpoint holds."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, h_BTD: Tensor) -> Tensor:
        self.calls += self.training and h_BTD.requires_grad
        return h_BTD * (1 + 0.001 * self.calls)


class Overflowing(nn.Module):
    def forward(self, h_BTD: Tensor) -> Tensor:
        return h_BTD / (h_BTD.dtype == torch.float32)


class Halving(nn.Module):
    def forward(self, h_BTD: Tensor) -> Tensor:
        return h_BTD[..., ::2]


class Parametrized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(16))

    def forward(self, h_BTD: Tensor) -> Tensor:
        return h_BTD * self.gain


@dataclass(frozen=True)
class Shrinking:
    """A constraint that is none."""

    def build(self, dims: Dims) -> Any:
        def shrink(model: nn.Module) -> None:
            with torch.no_grad():
                for weight in model.parameters():
                    weight.mul_(0.999)

        return shrink


@dataclass
class Thawed:
    """No frozen record."""

    def build(self, dims: Dims) -> nn.Module:
        return nn.Identity()


@dataclass(frozen=True)
class Listed:
    """Can't be hashed."""

    values: list[int] = field(default_factory=list)

    def build(self, dims: Dims) -> nn.Module:
        return nn.Identity()


class Widening(nn.Module):
    """Gives float32, whatever it is given."""

    def forward(self, h_BTD: Tensor) -> Tensor:
        return h_BTD.float()


class Remembering(Embed):
    """Looks back, and does not say so."""

    def forward(self, h_BTD: Tensor, shared: Shared) -> Tensor:
        return h_BTD + previous(h_BTD, shared.cache, "before")


class Saying(Remembering):
    looks_back = True


class TwoKeys(Attention):
    """Keeps a key and a value more than there are tokens."""

    def attend(self, q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, shared: Shared) -> Tensor:
        if shared.cache is not None and shared.cache.length:
            return super().attend(q_BTHK, k_BTHK, v_BTHK, shared)
        wider = (torch.cat((x[:, :1], x), dim=1) for x in (q_BTHK, k_BTHK, v_BTHK))
        return super().attend(*wider, shared)[:, 1:]


@dataclass(frozen=True)
class Attending:
    kind: type[Attention]

    def build(self, dims: Dims, parts: Parts, layer: int) -> nn.Module:
        return self.kind(dims, parts, layer)


class OwnValueGroupsForgotten(nn.Module):
    """As exclusive attention, but of values as they come: one head for each group where queries are grouped."""

    def forward(self, o_BTHK: Tensor, v_BTHK: Tensor, h_BTD: Tensor) -> Tensor:
        return o_BTHK - 0.1 * (o_BTHK * v_BTHK).sum(-1, keepdim=True) * v_BTHK


class InPairs(Attention):
    """Gives half as many heads, twice as wide: W_o does not see the difference."""

    def attend(self, q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, shared: Shared) -> Tensor:
        o_BTHK = super().attend(q_BTHK, k_BTHK, v_BTHK, shared)
        return o_BTHK.reshape(*o_BTHK.shape[:2], -1, 2 * self.d_head)


class Transposing(nn.Module):
    def forward(self, o_BTHK: Tensor, v_BTHK: Tensor, h_BTD: Tensor) -> Tensor:
        return o_BTHK.flatten(2).unsqueeze(2)


@dataclass(frozen=True)
class Holding:
    """A field that is another one in every copy."""

    act: nn.Module

    def build(self, dims: Dims) -> nn.Module:
        return nn.Identity()


def test_what_looks_back_and_says_so_is_whole() -> None:
    CHECKS["cached as uncached"](replace(GPT, embed=Norm(Saying)))


@pytest.mark.parametrize(
    ("what", "changes", "message"),
    [
        ("parts are frozen records", {"norm": Listed()}, "unhashable"),
        ("parts are frozen records", {"norm": Thawed()}, "Thawed is no frozen record; put @dataclass"),
        ("parts are frozen records", {"norm": lambda: None}, "norm is function; give a part"),
        ("parts are frozen records", {"mlp": Norm}, r"mlp is the class Norm; give a record of it, Norm\(\)"),
        (
            "parts are frozen records",
            {"mlp": None},
            r"mlp is NoneType; give a part.* build\(dims, parts, layer\)",
        ),
        (
            "parts are frozen records",
            {"mlp": Norm(Unused)},
            r"mlp: Norm.build does not take .*\(self, dims, parts, layer\)",
        ),
        ("parts are frozen records", {"weight_decay": "0.1"}, "weight_decay is str; give a number"),
        ("parts are frozen records", {"norm": Holding(nn.ReLU())}, "an equal copy does not compare equal"),
        ("builds", {"norm": Norm(Parametrized)}, "gain"),
        ("builds", {"attention": Attending(InPairs)}, "attention gives 2 heads of width 8 where attn_out"),
        ("builds", {"attn_out": Norm(Transposing)}, r"attn_out gives \(1, 8, 1, 16\) for \(1, 8, 4, 4\)"),
        ("no later token leaks", {"norm": Norm(Listening)}, "depends on token 1, a later one"),
        ("gradients reach every parameter", {"norm": Norm(Unused)}, "no gradient reaches .*s_u.stored"),
        ("cached as uncached", {"norm": Norm(ByLength)}, "through a cache, logits are off by"),
        ("cached as uncached", {"embed": Norm(Remembering)}, "write looks_back = True"),
        ("cached as uncached", {"attention": Attending(TwoKeys)}, "write looks_back = True"),
        ("no later token leaks", {"norm": Norm(Drawing)}, "other logits a second time"),
        ("resumes bit for bit", {"norm": Norm(Counting)}, "a resumed run goes on otherwise"),
        ("finite in bfloat16", {"norm": Norm(Overflowing)}, "not finite in bfloat16"),
        ("finite in bfloat16", {"norm": Norm(Widening)}, "torch.float32 at the end where bfloat16"),
        ("deterministic", {"norm": Norm(Drawing)}, "no part may draw random numbers"),
        ("the constraint is idempotent", {"after_step": Shrinking()}, "after_step moves"),
    ],
)
def test_a_broken_method_is_told_what_to_mend(what: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        CHECKS[what](replace(GPT, **changes))
    assert "\n" not in str(caught.value)


def test_heads_taken_for_groups_of_heads_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two heads and one group, which is broadcast, no check says a word."""
    parts = replace(GPT, attention=GroupedQueries(), attn_out=Norm(OwnValueGroupsForgotten))
    with pytest.raises(Broken, match=r"mine fails 'builds': RuntimeError: .* \(4\) must match .* \(2\)"):
        check(parts, "mine")
    two = Dims(vocab_size=17, num_layers=2, num_heads=2, d_model=16, d_ff=24)
    for module in (checks, models):
        monkeypatch.setattr(module, "DIMS", two)
    assert check(parts, "mine") == list(CHECKS)


def test_the_first_check_that_fails_is_named() -> None:
    told: list[str] = []
    with pytest.raises(Broken, match=r"mine fails 'no later token leaks': the prediction at position 0"):
        check(replace(GPT, norm=Norm(Listening)), "mine", told.append)
    assert told == ["mine: parts are frozen records", "mine: builds"]
    with pytest.raises(Broken, match=r"mine fails 'builds': RuntimeError: .*docs/add_a_method.md"):
        check(replace(GPT, norm=Norm(Halving)), "mine")
    assert check(GPT, "gpt") == list(CHECKS)
