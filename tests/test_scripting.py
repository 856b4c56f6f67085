"""What a script's calls refuse or read before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ngptlab import ConfigError, Run, RunConfig, experiment, scripting
from ngptlab.errors import WorldError
from ngptlab.method_files import sources
from ngptlab.train.unwritten import Unwritten
from ngptlab.world import launched

MakeConfig = Callable[..., RunConfig]
METHOD = '''"""A method for tests."""

from ngptlab.methods.gpt import METHOD
'''


@pytest.fixture
def resolved(work: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., RunConfig]]:
    """What `train` would train, in a folder with the file of a method."""
    (work / "my_idea.py").write_text(METHOD)
    found: list[RunConfig] = []

    def train(config: RunConfig, out: Path | None, **how: Any) -> Run:
        found.append(config)
        return Unwritten(work, config)

    monkeypatch.setattr(experiment, "train", train)

    def of(*given: Any, **how: Any) -> RunConfig:
        scripting.train(*given, quiet=True, **how)
        return found.pop()

    yield of
    sources.forget()


def test_a_file_among_overrides_is_read_like_any_other(resolved: Callable[..., RunConfig]) -> None:
    assert resolved("demo", overrides={"method": "./my_idea.py"}).method.startswith("my_idea@")
    assert (
        resolved("demo", overrides=["seams.norm=./my_idea.py"]).seams.lenders["norm"].startswith("my_idea@")
    )
    assert (
        resolved("demo", method="my_idea.py", overrides={"method": "./my_idea.py"}).method[:8] == "my_idea@"
    )


def test_two_methods_are_refused(resolved: Callable[..., RunConfig]) -> None:
    for config in ("demo", resolved("demo")):
        with pytest.raises(ConfigError, match="method ngpt, and overrides with method gpt: give one of them"):
            resolved(config, method="ngpt", overrides={"method": "gpt"})


def test_a_comparison_is_refused_to_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(launched.NEEDED, ("1", "2", "localhost", "1"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(scripting, "compare_methods", lambda *given, **how: pytest.fail("begun"))
    with pytest.raises(ConfigError, match="compare: torchrun starts several processes"):
        scripting.compare("demo", quiet=True)


def test_records_are_the_first_process_s(make_config: MakeConfig, tmp_path: Path) -> None:
    run = Unwritten(tmp_path, make_config())
    for ask in (lambda: run.read("evals"), lambda: run.summary):
        with pytest.raises(WorldError, match="the first process has this run's records"):
            ask()
