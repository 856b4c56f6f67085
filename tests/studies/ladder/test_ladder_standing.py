"""A mixture that cannot stand is named with the reason; one that can is left alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from torch import Tensor, nn

from ngptlab import Dims, methods
from ngptlab.recipes import recipe
from ngptlab.studies.ladder.dry_run import why_not
from ngptlab.studies.ladder.plan import plan


@dataclass(frozen=True)
class Picky:
    """Never builds."""

    def build(self, dims: Dims) -> Any:
        raise ValueError("needs\na norm before it")


@dataclass(frozen=True)
class Explode:
    """Finite on its first calls, then not."""

    calls: int

    def build(self, dims: Dims) -> nn.Module:
        return _Explode(self.calls)


class _Explode(nn.Module):
    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def forward(self, h_BTD: Tensor) -> Tensor:
        self.left -= 1
        return h_BTD if self.left >= 0 else h_BTD * float("inf")


@pytest.mark.parametrize(("base", "target"), list(pairwise([*methods.names(), methods.names()[0]])))
def test_every_rung_between_the_methods_there_are_stands(base: str, target: str) -> None:
    rungs = plan(recipe("demo"), base=base, target=target, mode="cumulative", overrides={})
    assert [rung.reason for rung in rungs] == [""] * len(rungs)


def test_a_part_that_does_not_build() -> None:
    assert why_not(replace(methods.load("gpt"), norm=Picky())) == "ValueError: needs a norm before it"


@pytest.mark.parametrize(("calls", "when"), [(0, "before"), (1, "after")])
def test_a_loss_that_is_not_finite(calls: int, when: str) -> None:
    reason = why_not(replace(methods.load("gpt"), norm=Explode(calls)))
    assert reason == f"the loss is nan {when} the first update, at toy size"


def test_a_senseless_rung_is_named_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    real = methods.load

    def load(name: str, lent: dict[str, str] | None = None) -> Any:
        parts = real(name, lent)
        alone = (lent or {}).get("norm") and not (lent or {}).get("residual")
        return replace(parts, norm=Picky()) if alone else parts

    monkeypatch.setattr(methods, "load", load)
    rungs = plan(recipe("demo"), base="gpt", target="ngpt", mode="cumulative", overrides={})
    assert [rung.label for rung in rungs if rung.reason] == ["+ norm", "+ after_step"]
    assert all(rung.reason == "ValueError: needs a norm before it" for rung in rungs if rung.reason)
