"""The numbers of trials that a change must pass: docs/reliability.md has those of a campaign."""

from __future__ import annotations

import pytest
from test_trials import campaign

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1700)]

EACH = [
    "kills=200",
    "cli_kills=10",
    "save_crashes=1000",
    "training_crashes=1000",
    "branch_crashes=1000",
    "file_crashes=1000",
    "ledger_crashes=1000",
    "prepare_crashes=1000",
    "signals=40",
    "full_disks=30",
    "flips=5000",
    "orders=1000",
    "starts=60",
    "rank_kills=10",
    "frozen_ranks=2",
    "full_ranks=2",
    "async_kills=100",
    "async_save_crashes=1000",
    "async_signals=20",
    "async_full_disks=16",
    "async_rank_kills=4",
    "async_full_ranks=2",
]


@pytest.mark.parametrize("target", EACH)
def test_many(target: str) -> None:
    assert " 0 wrong" in campaign(target, seconds=1600)
