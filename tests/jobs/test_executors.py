"""The option `--executor` of every study's verb, from one table."""

from __future__ import annotations

import argparse
from importlib import metadata
from pathlib import Path

import pytest

from ngptlab.cli import main
from ngptlab.errors import ConfigError
from ngptlab.jobs.local import Local
from ngptlab.jobs.on_ray import Ray
from ngptlab.studies import executors

VERBS = {
    "sweep": ["--lrs", "2^-9"],
    "ladder": ["--from", "gpt", "--to", "ngpt"],
    "cooldown": [],
    "board": [],
}
Captured = pytest.CaptureFixture[str]


def options_of(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    executors.add(parser)
    return parser.parse_args(given)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray, as far as its version says."""
    whole = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "2.60.0" if name == "ray" else whole(name))


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Ray, whether or not it is there."""
    whole = metadata.version

    def version(name: str) -> str:
        if name == "ray":
            raise metadata.PackageNotFoundError(name)
        return whole(name)

    monkeypatch.setattr(metadata, "version", version)


def test_each_name_makes_its_executor(installed: None) -> None:
    assert executors.chosen(options_of()) == Local(stack=1)
    assert executors.chosen(options_of("--workers", "3"), stack=None) == Local(workers=3, stack=None)
    assert executors.chosen(options_of("--executor", "ray"), stack=None) == Ray()
    given = ["--address", "auto", "--gpus-per-run", "0.25", "--cpus-per-run", "2", "--workers", "5"]
    assert executors.chosen(options_of("--executor", "ray", *given)) == Ray(
        address="auto", gpus_per_run=0.25, cpus_per_run=2, workers=5
    )
    assert set(executors.OPTIONS.values()) <= set(executors.EXECUTORS)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--executor", "slum"], "--executor: invalid choice: 'slum'"),
        (["--gpus-per-run", "0"], "--gpus-per-run: goes with --executor ray"),
        (["--address", "auto"], "--address: goes with --executor ray"),
        (["--executor", "local", "--cpus-per-run", "1"], "--cpus-per-run: goes with --executor ray"),
        (["--executor", "ray", "--gpus-per-run", "1.5"], "--gpus-per-run: given 1.5"),
        (["--executor", "ray", "--gpus-per-run", "inf"], "--gpus-per-run: given inf"),
        (["--executor", "ray", "--gpus-per-run", "nan"], "--gpus-per-run: given nan"),
        (["--executor", "ray", "--gpus-per-run", "-1"], "--gpus-per-run: given -1"),
        (["--executor", "ray", "--cpus-per-run", "0"], "--cpus-per-run: given '0'"),
        (["--executor", "ray", "--workers", "-1"], "--workers: given -1"),
        (["--executor", "ray", "--address", "ray://host:1"], "--address: given 'ray://host:1'"),
    ],
)
def test_wrong_use_is_a_line(
    verb: str, wrong: list[str], message: str, installed: None, work: Path, capsys: Captured
) -> None:
    assert main([verb, "demo", *VERBS[verb], *wrong]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1, err
    assert not list(work.iterdir())


@pytest.mark.parametrize("verb", VERBS)
def test_without_ray_the_extra_is_named(verb: str, missing: None, work: Path, capsys: Captured) -> None:
    assert main([verb, "demo", *VERBS[verb], "--executor", "ray"]) == 2
    err = capsys.readouterr().err
    assert "pip install 'ngptlab[ray]'" in err and err.count("\n") == 1


def test_a_stack_is_no_task(installed: None) -> None:
    with pytest.raises(ConfigError, match="--stack: given 4; on Ray each run is a task of its own"):
        executors.chosen(options_of("--executor", "ray"), stack=4)
