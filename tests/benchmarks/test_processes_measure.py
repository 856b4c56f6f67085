"""The benchmark of processes, without a clock."""

from __future__ import annotations

import numpy as np

from benchmarks.processes import ARMS, slowest


def test_a_step_lasts_as_long_as_its_slowest_process() -> None:
    nothing = np.nan
    alone = np.array([[3.0, nothing], [4.0, nothing]])
    first, second = np.array([[nothing, 1.0], [nothing, 5.0]]), np.array([[nothing, 2.0], [nothing, 1.0]])
    assert slowest([alone, first, second]).tolist() == [[3.0, 2.0], [4.0, 5.0]]


def test_the_first_arm_is_what_others_are_compared_with() -> None:
    assert ARMS[0] == "one process" and len(set(ARMS)) == len(ARMS)
