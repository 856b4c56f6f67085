"""What a method says itself is no difference of settings between two arms; what somebody chose is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngptlab.stats.doubts import settings
from ngptlab.stats.records import load_runs

MakeRun = Callable[..., Path]
LOSSES = {0: 6.0, 20: 3.0}
THIRDS: dict[str, Any] = {"train": {"batch_size": 8, "batch_stages": (0.5, 1.0, 1.5)}}
OTHERS: dict[str, Any] = {"train": {"batch_size": 8, "batch_stages": (0.5, 1.5)}}
OWN_SHAPE: dict[str, Any] = {"schedule": {"shape": "method"}}


@pytest.mark.parametrize(
    ("method", "changes", "said"),
    [
        ("batch_warmup", THIRDS, ""),
        ("batch_warmup", OTHERS, "train.batch_stages (none, [0.5, 1.5])"),
        ("ngpt", THIRDS, "train.batch_stages"),
        ("batch_warmup", THIRDS | {"schedule": {"shape": "cosine"}}, "schedule.shape (wsd, cosine)"),
        ("log_schedule", OWN_SHAPE, ""),
        ("log_schedule", {"schedule": {"shape": "method", "cooldown_frac": 0.2}}, ""),
        ("log_schedule", OWN_SHAPE | {"train": {"context": 8}}, "train.context (16, 8)"),
    ],
)
def test_a_methods_own_values_forbid_no_claim(
    method: str, changes: dict[str, Any], said: str, make_run: MakeRun
) -> None:
    runs = load_runs([make_run("gpt", LOSSES), make_run(method, LOSSES, **changes)])
    found = settings({run.method: [run] for run in runs})
    assert [doubt.arms for doubt in found] == ([("gpt", method)] if said else [])
    assert all(said in doubt.text and doubt.forbids_claim for doubt in found)
