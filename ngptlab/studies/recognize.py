"""Recognize each path given to a report by the file in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ngptlab.discover import folders, modules
from ngptlab.errors import ConfigError
from ngptlab.folders import own, refuse_link
from ngptlab.studies.reading import sensible
from ngptlab.studies.section import Placed, Study

FOLDER = "studies"
"""Folder beside the page with a folder of files for each study. Files are written from the numbers, never copied."""


class Page(Protocol):
    """Interface of a study's `page.py`. A folder belongs to a study where it has a file of the study's name: ladder.json."""

    OF_A_COMPARISON: bool
    """Whether the file is in a comparison's folder, whose runs then belong to the report."""

    def study(self, path: Path) -> list[Study]:
        """The sections of the page for this file. Raises DataError where it is damaged."""


def pages() -> dict[str, Page]:
    """Modules `page.py` of all studies, by the name of the file that each reads."""
    found: dict[str, Page] = {
        f"{name}.json": page for name, page in modules("ngptlab.studies", "page").items()
    }
    return found


@dataclass(frozen=True)
class Given:
    """Run directories, and the JSON files of studies, in the order given."""

    runs: tuple[Path, ...]
    studies: tuple[Path, ...]


def recognize(paths: Iterable[Path]) -> Given:
    """Sort paths into runs and studies. A folder of runs, or of a comparison, gives all its runs, by name.

    Raises:
        ConfigError: a path is none of them.
    """
    runs: list[Path] = []
    studies: dict[Path, None] = {}
    kinds = pages()
    for path in paths:
        found = [path / name for name in kinds if (path / name).is_file()]
        if (path / "config.json").is_file():
            runs.append(path)
        elif found:
            studies |= dict.fromkeys(found)
            if all(kinds[file.name].OF_A_COMPARISON for file in found):
                runs += _runs_inside(path)
        else:
            runs += _inside(path)
    return Given(tuple(runs), tuple(studies))


def _inside(path: Path) -> list[Path]:
    if found := _runs_inside(path):
        return found
    raise ConfigError(
        f"{path}: not a run directory (config.json), nor a folder of runs, nor a study's ({', '.join(pages())}); "
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
            found = pages()[file.name].study(file)
        placed += [Placed(study, f"{FOLDER}/{index}-{file.stem}/", file) for study in found]
    return placed


def write(placed: Sequence[Placed], out: Path) -> None:
    """Write the studies' files beside the page, and remove those of an earlier page.

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
    stems = "|".join(folders("ngptlab.studies"))
    refuse_link(folder)
    for inner in folder.glob("*-*"):
        refuse_link(inner)
        if re.fullmatch(rf"\d+-({stems})", inner.name):
            for file in inner.iterdir():
                if re.fullmatch(rf"({stems})\.(csv|json|md|png|svg)", file.name):
                    file.unlink()
            if not any(inner.iterdir()):
                inner.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
