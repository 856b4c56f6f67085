"""A soak's verdicts on samples that are made up: what is flat holds, what grows fails, what is drowned in noise is undecided."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.soak_verdict import judge

SAMPLES = 720
FACTS = {"readers": [], "end": {"code": 143, "step": 7, "checkpoint": 7}}


def samples(
    *, leak: float = 0.0, slower: float = 0.0, noise: float = 0.01, more: int = 0
) -> dict[str, list[float]]:
    """Two hours. `leak` in bytes a second, `slower` in shares of a step's time over all, `more` files in the second half."""
    draw = np.random.default_rng(0)
    seconds = 10.0 * np.arange(SAMPLES)
    each = 0.03 * (1 + slower * seconds / seconds[-1]) * np.exp(noise * draw.standard_normal(SAMPLES))
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
        "sort_seconds": 0.0017 * np.exp(0.01 * draw.standard_normal(SAMPLES)),
    }
    return {name: column.tolist() for name, column in columns.items()}


def verdicts(columns: dict[str, list[float]]) -> dict[str, str]:
    return {each.what: each.verdict for each in judge(columns, FACTS) if each.verdict}


def test_what_is_flat_holds() -> None:
    assert set(verdicts(samples()).values()) == {"holds"}


@pytest.mark.parametrize(
    "columns, what",
    [
        (samples(leak=2000), "memory without files"),
        (samples(slower=0.2), "CPU time of a step at equal speed of sorting"),
        (samples(more=1), "files"),
    ],
)
def test_what_grows_fails(columns: dict[str, list[float]], what: str) -> None:
    assert verdicts(columns)[what] == "fails"


def test_noise_is_undecided() -> None:
    found = verdicts(samples(noise=3.0))
    assert found["CPU time of a step at equal speed of sorting"] == "undecided"
