"""From paths to evidence. A path is a run directory, a folder of them, a study's folder, a folder of tables, or one file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ngptlab.claims.evidence import Evidence
from ngptlab.claims.read.files import READABLE, kind_of, read_file
from ngptlab.claims.read.runs import read_evals, read_runs
from ngptlab.errors import ConfigError
from ngptlab.runs import Run

STUDIES = ("cooldown.json", "ladder.json", "report.json", "sweep.json")
"""Files that say all that a folder's runs say of losses; of these runs only evaluations are read besides."""


def gather(paths: Sequence[Path]) -> tuple[Evidence, list[str]]:
    """All evidence of these paths, and the names of files that speak to no claim.

    Raises:
        ConfigError: a path is not there, or holds nothing that can be read.
        DataError: a file or a run is damaged.
    """
    evidence, mute = Evidence(), list[str]()
    for path in dict.fromkeys(Path(p) for p in paths):
        if not path.exists():
            raise ConfigError(
                f"{path}: not there; give run directories, a study's folder, or files as in results/"
            )
        _read(path, path.resolve().parent, evidence, mute)
    return evidence, mute


def _read(path: Path, root: Path, evidence: Evidence, mute: list[str]) -> None:
    if path.is_file():
        if kind_of(path) is None:
            raise ConfigError(f"{path}: no kind of result that speaks to a claim")
        evidence.add(read_file(path, _name(path, root)))
        return
    if _is_run(path):
        evidence.add(read_runs([path], root))
        return
    files, runs = _tables(path), _run_folders(path)
    if not files and not runs:
        raise ConfigError(f"{path}: holds no finished run and no .json or .csv; give another folder")
    study = False
    for file in files:
        if kind_of(file) is None:
            mute.append(_name(file, root))
            continue
        study = study or file.name in STUDIES
        evidence.add(read_file(file, _name(file, root)))
    evidence.add(read_evals(runs, root) if study else read_runs(runs, root))


def _tables(folder: Path) -> list[Path]:
    """Files of a folder that may hold results; of a table in two forms, the JSON."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in READABLE)
    return [p for p in files if p.suffix == ".json" or p.with_suffix(".json") not in files]


def _run_folders(folder: Path) -> list[Path]:
    """Finished runs in a folder, or in its `runs`."""
    places: Iterable[Path] = (folder, folder / "runs")
    return [path for place in places if place.is_dir() for path in _finished(place)]


def _finished(place: Path) -> Iterator[Path]:
    return (p for p in sorted(place.iterdir()) if _is_run(p) and Run(p).done)


def _is_run(path: Path) -> bool:
    return (path / "config.json").is_file()


def _name(path: Path, root: Path) -> str:
    """Of a file in what the user gave: 'results/demo-length.csv', wherever that lies."""
    resolved = path.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else path.name
