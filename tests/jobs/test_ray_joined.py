"""How Ray is started and joined, told to a module that stands for it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from ngptlab.errors import ConfigError
from ngptlab.jobs.ray_cluster import joined

NAMES = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED")


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What Ray's `init` was given, with the environment that it saw; it takes over signals, as Ray does."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    found: list[dict[str, Any]] = []

    def init(**how: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        found.append({**how, **{name: os.environ.get(name) for name in NAMES}})

    module = SimpleNamespace(init=init, is_initialized=lambda: bool(found))
    monkeypatch.setitem(sys.modules, "ray", module)  # type: ignore[arg-type]
    whole = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "2.60.0" if name == "ray" else whole(name))
    yield found


def test_a_cluster_of_this_machine(given: list[dict[str, Any]]) -> None:
    """It is closed to who lacks its token, has no dashboard, and sends nothing; signals stay ours."""
    before = signal.getsignal(signal.SIGTERM)
    assert joined("") is sys.modules["ray"] is joined("")
    assert signal.getsignal(signal.SIGTERM) == before
    (how,) = given
    assert (how["address"], how["include_dashboard"], how["log_to_driver"]) == ("local", False, False)
    assert how["num_cpus"] >= 1 and how["RAY_USAGE_STATS_ENABLED"] == "0"
    assert how["RAY_AUTH_MODE"] == "token" and len(how["RAY_AUTH_TOKEN"]) == 64


@pytest.mark.parametrize(
    ("address", "variable", "expected"),
    [("auto", "", "auto"), ("host:6379", "other:1", "host:6379"), ("", "other:1", "other:1")],
)
def test_a_cluster_that_is_there(
    address: str, variable: str, expected: str, given: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its own dashboard, cores and token, which a driver must not name."""
    if variable:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    joined(address)
    (how,) = given
    assert how["address"] == expected and how["RAY_AUTH_MODE"] is how["RAY_AUTH_TOKEN"] is None
    assert not {"include_dashboard", "num_cpus"} & how.keys()


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_of_the_users_stays(
    name: str, given: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is asked for, which some versions of Ray do only where the mode says so."""
    monkeypatch.setenv(name, "mine")
    joined("")
    assert (given[0]["RAY_AUTH_MODE"], given[0][name]) == ("token", "mine")
    assert name == "RAY_AUTH_TOKEN" or given[0]["RAY_AUTH_TOKEN"] is None


def test_a_mode_of_the_users_stays(given: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    joined("")
    assert given[0]["RAY_AUTH_MODE"] == "disabled" and given[0]["RAY_AUTH_TOKEN"] is None


@pytest.mark.parametrize("kind", [ConnectionError, RuntimeError, Exception])
def test_no_cluster_is_a_line(
    kind: Callable[[str], Exception], given: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**how: Any) -> None:
        raise kind("Could not find\n  any running\x1b instance" + "!" * 1000)

    monkeypatch.setattr(sys.modules["ray"], "init", init)
    with pytest.raises(ConfigError, match="no cluster at auto \\(Could not find any running") as caught:
        joined("auto")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    with pytest.raises(ConfigError, match="give auto, or HOST:6379"):
        joined("https://host")
