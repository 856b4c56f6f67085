"""A soak's verdicts on samples that are made up: what is flat holds, what grows fails, what is drowned in noise is undecided."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.soak_verdict import judge

SAMPLES = 720
END = {"code": 143, "step": 7, "checkpoint": 7}
RATIO = "CPU time of a step over a fresh training's"


def pairs(slower: float, *, noise: float = 0.01, number: int = 20) -> list[dict[str, float]]:
    """The machine becomes half as fast. The training is 5 % slower than a fresh one, and becomes slower by that share."""
    draw, found = np.random.default_rng(0), []
    for place in range(number):
        fresh = 20.0 * (1 + place / number)
        old = 1.05 * fresh * (1 + slower * place / number) * np.exp(noise * draw.standard_normal())
        found.append({"seconds": 360.0 * place, "step": 1000.0 * place, "old_ms": old, "fresh_ms": fresh})
    return found


FACTS = {"readers": [], "end": END, "fresh": pairs(0.0)}


def samples(*, leak: float = 0.0, more: int = 0) -> dict[str, list[float]]:
    """Two hours. `leak` in bytes a second, `more` files in the second half."""
    draw = np.random.default_rng(0)
    seconds = 10.0 * np.arange(SAMPLES)
    each = 0.03 * np.exp(0.01 * draw.standard_normal(SAMPLES))
    later = np.arange(SAMPLES) >= SAMPLES // 2
    columns = {
        "seconds": seconds,
        "step": 100.0 * np.arange(SAMPLES),
        "cpu_seconds": np.cumsum(100 * each),
        "rss_bytes": 4e8 + 1e5 * draw.standard_normal(SAMPLES) + leak * seconds,
        "anonymous_bytes": 3e8 + leak * seconds,
        "descriptors": np.full(SAMPLES, 7.0),
        "threads": np.ones(SAMPLES),
        "files": 12.0 + more * later,
        "bytes_of_streams": 1e4 * np.arange(SAMPLES),
        "bytes_beside": np.full(SAMPLES, 3e6),
        "watch_rss_bytes": np.full(SAMPLES, 5e7),
    }
    return {name: column.tolist() for name, column in columns.items()}


def verdicts(columns: dict[str, list[float]]) -> dict[str, str]:
    return {each.what: each.verdict for each in judge(columns, FACTS) if each.verdict}


def test_what_is_flat_holds() -> None:
    assert set(verdicts(samples()).values()) == {"holds"}


@pytest.mark.parametrize(
    "columns, what", [(samples(leak=2000), "memory without files"), (samples(more=1), "files")]
)
def test_what_grows_fails(columns: dict[str, list[float]], what: str) -> None:
    assert verdicts(columns)[what] == "fails"


@pytest.mark.parametrize(
    "found, says",
    [
        (pairs(0.0), "holds"),
        (pairs(0.1), "fails"),
        (pairs(-0.1), "fails"),
        (pairs(0.0, noise=0.3), "undecided"),
        (pairs(0.0, number=4), "undecided"),
    ],
)
def test_a_step_is_held_against_a_fresh_one(found: list[dict[str, float]], says: str) -> None:
    judged = {each.what: each for each in judge(samples(), {**FACTS, "fresh": found})}
    assert judged[RATIO].verdict == says
