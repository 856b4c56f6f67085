"""What each path given to a report is, by the file that it holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ngptlab.errors import ConfigError
from ngptlab.folders import own, refuse_link
from ngptlab.report.studies import cooldown, coord, ladder, search, sweep, target
from ngptlab.report.studies.reading import sensible
from ngptlab.report.studies.shown import Placed, Study

KINDS: dict[str, Callable[[Path], list[Study]]] = {
    "ladder.json": ladder.study,
    "cooldown.json": cooldown.study,
    "sweep.json": sweep.study,
    "coord.json": coord.study,
    "target.json": target.study,
    "search.json": search.study,
}
"""The file that makes a folder a study's, and what reads it."""

OF_A_COMPARISON = "target.json"
"""A study of the comparison in whose folder it stands: the runs there are given with it."""

FOLDER = "studies"
"""Beside the page: files of the studies, a folder each. They are written anew from the numbers, never copied."""


@dataclass(frozen=True)
class Given:
    """Run directories, and the JSON files of studies, in the order given."""

    runs: tuple[Path, ...]
    studies: tuple[Path, ...]


def recognize(paths: Iterable[Path]) -> Given:
    """Sort out runs and studies. Of a folder of runs, or of a comparison, all runs are taken, by name.

    Raises:
        ConfigError: a path is none of them.
    """
    runs: list[Path] = []
    studies: dict[Path, None] = {}
    for path in paths:
        found = [path / name for name in KINDS if (path / name).is_file()]
        if (path / "config.json").is_file():
            runs.append(path)
        elif found:
            studies |= dict.fromkeys(found)
            if found == [path / OF_A_COMPARISON]:
                runs += _runs_inside(path)
        else:
            runs += _inside(path)
    return Given(tuple(runs), tuple(studies))


def _inside(path: Path) -> list[Path]:
    if found := _runs_inside(path):
        return found
    raise ConfigError(
        f"{path}: not a run directory (config.json), nor a folder of runs, nor a study's ({', '.join(KINDS)}); "
        "give what `ngptlab` trained"
    )


def _runs_inside(path: Path) -> list[Path]:
    for pattern in ("*/config.json", "runs/*/config.json"):
        if found := sorted(path.glob(pattern)):
            return [config.parent for config in found]
    return []


def load(files: Sequence[Path]) -> list[Placed]:
    """The studies in these files.

    Raises:
        DataError: one is damaged, or not such a file.
    """
    placed = []
    for index, file in enumerate(files, start=1):
        with sensible(file):
            found = KINDS[file.name](file)
        placed += [Placed(study, f"{FOLDER}/{index}-{file.stem}/", file) for study in found]
    return placed


def write(placed: Sequence[Placed], out: Path) -> None:
    """Write the studies' files beside the page; those of an earlier page go.

    Raises:
        DataError: a study's numbers make no sense together.
        OSError: they can't be written, or a link stands where they go.
    """
    _clear(out / FOLDER)
    for each in placed:
        with sensible(each.source):
            if each.study.write:
                own(out / FOLDER)
                each.study.write(own(out / each.folder))


def _clear(folder: Path) -> None:
    """Remove what an earlier page wrote, and nothing else."""
    stems = "|".join(name.removesuffix(".json") for name in KINDS)
    refuse_link(folder)
    for inner in folder.glob("*-*"):
        refuse_link(inner)
        if re.fullmatch(rf"\d+-({stems})", inner.name):
            for file in inner.iterdir():
                if re.fullmatch(rf"({stems}|speedup)\.(csv|json|png|svg)", file.name):
                    file.unlink()
            if not any(inner.iterdir()):
                inner.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
