"""Evidence made by hand, as rules ask for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ngptlab.claims.evidence import Ends, Evidence, Setting
from ngptlab.stats.doubts import Doubt

Arms = Callable[..., Evidence]


@pytest.fixture
def arms() -> Arms:
    """Final losses of `new` and `old`, by seed, in one group."""

    def make(
        new: list[float], old: list[float], *, doubts: tuple[Doubt, ...] = (), **setting: Any
    ) -> Evidence:
        where = Setting(
            origin="made", **{"params": 1000, "tokens": 5000, "context": 128, "data": "text", **setting}
        )
        return Evidence(
            ends=[
                Ends(
                    setting=where,
                    group=("made", where.tokens),
                    frac=0.3,
                    shape="linear",
                    method=method,
                    losses={str(seed): loss for seed, loss in enumerate(losses)},
                    hashes=(f"{method}0000",),
                    doubts=doubts if method == "new" else (),
                )
                for method, losses in (("new", new), ("old", old))
            ]
        )

    return make
