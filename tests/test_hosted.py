"""Files that other machines read say what the Makefile and .ci/run say: hosted workflow, image, dev container, citation."""

from __future__ import annotations

import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

import ngptlab

ROOT = Path(ngptlab.__file__).parent.parent
PACKAGES = re.compile(
    r"apt-get (update|install -y --no-install-recommends [a-z -]+)|rm -rf /var/lib/apt/lists/\*"
)
"""What an image may do beside `make`: install packages of its system, and clean up."""


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rules() -> set[str]:
    """What `make` can make, with the Makefile's own variables put in."""
    makefile = text("Makefile")
    variables = dict(re.findall(r"^(\w+) [?:]?= (\S+)$", makefile, re.MULTILINE))
    targets = re.findall(r"^([^\s:#.][^\s:]*):", makefile, re.MULTILINE)
    for _ in range(2):  # BIN is made of VENV
        targets = [re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], target) for target in targets]
    return set(targets)


def steps(workflow: dict[str, Any]) -> list[str]:
    """The commands of a workflow's only job."""
    (job,) = workflow["jobs"].values()
    return [step["run"] for step in job["steps"] if "run" in step]


def test_the_hosted_workflow_runs_what_ci_run_does() -> None:
    own = re.findall(r"^make .+$", text(".ci/run"), re.MULTILINE)
    workflow = yaml.safe_load(text(".github/workflows/ci.yml"))
    assert steps(workflow) == own and len(own) == 4
    assert {command.split()[1] for command in own} <= rules()
    assert workflow["permissions"] == {"contents": "read"}, "a pull request's code runs there"
    project = tomllib.loads(text("pyproject.toml"))["project"]
    for python in workflow["jobs"]["test"]["strategy"]["matrix"]["python"]:
        assert f"Programming Language :: Python :: {python}" in project["classifiers"]


def stages(dockerfile: str) -> dict[str, list[tuple[str, str]]]:
    """{stage: [(instruction, its words)]}; a stage that builds on another one begins with that one's."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    lines = re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    for line in filter(None, lines):
        instruction, _, words = line.partition(" ")
        if instruction == "FROM":
            base, name = re.fullmatch(r"(\S+) AS (\w+)", words).groups()  # type: ignore[union-attr]
            found[name] = [*found.get(base, [("FROM", base)])]
        else:
            found[name].append((instruction, " ".join(words.split())))
    return found


def wrong(dockerfile: str) -> list[str]:
    """What a Dockerfile does that the Makefile doesn't know, or copies that isn't sent or isn't there."""
    found = []
    sent = [line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")]
    for name, instructions in stages(dockerfile).items():
        copied: list[str] = []
        for instruction, words in instructions:
            if instruction == "COPY":
                copied += words.split()[:-1]
                found += [
                    path for path in words.split()[:-1] if path not in sent or not (ROOT / path).exists()
                ]
            for command in words.split(" && ") if instruction == "RUN" else ():
                made = command.split()[-1]
                if command.startswith("make ") and made in rules():
                    if missing := {"Makefile", "pyproject.toml", "constraints.txt", "ngptlab"} - {*copied}:
                        found.append(f"{name}: {command} without {', '.join(sorted(missing))}")
                elif not PACKAGES.fullmatch(command):
                    found.append(f"{name}: {command}")
    return found


def test_the_image_installs_as_make_does() -> None:
    dockerfile = text("Dockerfile")
    assert wrong(dockerfile) == []
    found = stages(dockerfile)
    assert set(found) == {"source", "cpu", "cuda"}
    for name in ("cpu", "cuda"):
        assert found[name][-2:] == [("ENTRYPOINT", '["ngptlab"]'), ("CMD", '["--help"]')]
    assert ("RUN", "make TORCH_PIN= .venv/bin/.ngptlab") in found["cuda"], "the pin is the CPU build's"
    project = tomllib.loads(text("pyproject.toml"))["project"]
    copied = {path for instruction, words in found["cpu"] if instruction == "COPY" for path in words.split()}
    assert {project["readme"], *project["license-files"]} <= copied, "what hatchling reads to build"
    docs = text("docs/quickstart.md")
    assert all(f"--target {name}" in docs for name in ("cpu", "cuda"))


def test_what_is_not_sent_to_the_image_s_builder() -> None:
    lines = text(".dockerignore").splitlines()
    assert "*" in lines and not any(fnmatch("results", line[1:]) for line in lines if line.startswith("!"))


def test_the_dev_container_is_a_stage_of_the_image() -> None:
    told = json.loads(text(".devcontainer/devcontainer.json"))
    assert told["build"]["target"] in stages(text("Dockerfile"))
    assert (ROOT / ".devcontainer" / told["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    make, target = told["postCreateCommand"].split()
    assert make == "make" and target in rules()


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load(text("CITATION.cff"))
    project = tomllib.loads(text("pyproject.toml"))["project"]
    assert cited["version"] == ngptlab.__version__ and cited["license"] == project["license"]
    assert [author["name"] for author in cited["authors"]] == [
        author["name"] for author in project["authors"]
    ]
    assert {"cff-version", "message", "title", "authors"} <= set(cited), "what the format asks for"


# --- the checks are checked -------------------------------------------------------------------------------------------


def test_a_wrong_dockerfile_is_found() -> None:
    good = text("Dockerfile")
    for before, after in (
        ("RUN make .venv/bin/.ngptlab", "RUN make .venv/bin/.gone"),
        ("RUN make .venv/bin/.ngptlab", "RUN pip install ngptlab"),
        ("RUN make .venv/bin/.ngptlab", "RUN apt-get update && curl x | sh"),
        ("COPY ngptlab ngptlab", "COPY gone gone"),
        ("COPY ngptlab ngptlab", "COPY results ngptlab"),
        ("COPY ngptlab ngptlab\n", ""),
    ):
        assert before in good and wrong(good.replace(before, after)), after
