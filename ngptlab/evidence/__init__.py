"""From paths to evidence. A path is a run directory, a folder of them, a study's folder, a folder of tables, or one file.

Runs of a ledger count only where they link a search. The others were trained to select settings, and are no arm of a
comparison.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ngptlab import disk
from ngptlab.claims.evidence import Evidence
from ngptlab.discover import folders
from ngptlab.errors import ConfigError, DataError, LabError
from ngptlab.evidence.files import READABLE, read_file
from ngptlab.evidence.runs import read_evals, read_runs
from ngptlab.folders import own, scratch
from ngptlab.ledger.book import SUFFIX as LEDGER
from ngptlab.ledger.book import Ledger, is_ledger
from ngptlab.ledger.record import restore
from ngptlab.runs import Run
from ngptlab.stats.search import FOLDER
from ngptlab.terminal import printable
from ngptlab.whole import check_finished


@dataclass
class _Walk:
    """Contents of the paths, in the order given. Runs are read together at the end, because one arm's seeds may lie apart."""

    evidence: Evidence = field(default_factory=Evidence)
    runs: dict[Path, str] = field(default_factory=dict)
    """Run directories, with the names of their folders."""
    of_studies: dict[Path, str] = field(default_factory=dict)
    """Run directories whose losses are in a study's file, with the names of their folders."""
    ledgers: dict[Path, str] = field(default_factory=dict)
    """Files of ledgers, with their names."""
    mute: list[str] = field(default_factory=list)
    """Files that are evidence for no claim."""
    damaged: list[str] = field(default_factory=list)
    """Errors of damaged runs in folders with other runs, a line each. Damaged runs are not counted."""


def gather(paths: Sequence[Path]) -> tuple[Evidence, list[str], list[str]]:
    """All evidence of these paths, the names of files that are evidence for no claim, and the errors of damaged runs.

    Raises:
        ConfigError: a path is not there, or holds nothing that can be read.
        DataError: a file is damaged, or a run that was given by its own path.
    """
    walk = _Walk()
    for path in {Path(given).resolve(): Path(given) for given in paths}.values():
        if not path.exists():
            raise ConfigError(
                f"{path}: not there; give run directories, a study's folder, or files as in results/"
            )
        _visit(path.resolve(), path.resolve().parent, walk)
    with scratch() as folder:
        walk.evidence.add(read_runs(_linked(walk.ledgers, folder)))
    walk.evidence.add(read_runs(walk.runs))
    walk.evidence.add(read_evals({p: name for p, name in walk.of_studies.items() if p not in walk.runs}))
    return walk.evidence, walk.mute, walk.damaged


def _visit(path: Path, root: Path, walk: _Walk) -> None:
    if path.is_file():
        if path.suffix == LEDGER:
            walk.ledgers[path] = _name(path, root)
            return
        if (found := read_file(path, _name(path, root))) is None:
            raise ConfigError(f"{path}: no kind of result that is evidence for a claim")
        walk.evidence.add(found)
        return
    if _is_run(path):
        walk.runs[path] = path.parent.name
        return
    damaged: list[str] = []
    files, runs, ledgers = _tables(path), list(_finished(path, damaged)), _ledgers(path)
    walk.ledgers.update({file: _name(file, root) for file in ledgers})
    if not files and not runs and damaged:
        raise DataError(damaged[0])
    walk.damaged += damaged
    if not files and not runs and not ledgers:
        raise ConfigError(f"{path}: holds no finished run and no .json or .csv; give another folder")
    study = False
    for file in files:
        if (found := read_file(file, _name(file, root))) is None:
            walk.mute.append(_name(file, root))
        else:
            study = study or _has_all_losses(file)
            walk.evidence.add(found)
    (walk.of_studies if study else walk.runs).update({run: _name(run.parent, root) for run in runs})


def _has_all_losses(file: Path) -> bool:
    """Whether a file has all losses of its folder's runs, so that only their evaluations are read besides."""
    return file.suffix == ".json" and file.stem in ("report", *folders("ngptlab.studies", "page"))


def _tables(folder: Path) -> list[Path]:
    """Files of a folder that may hold results. A table in both forms is read from the JSON."""
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in READABLE)
    return [p for p in files if p.suffix == ".json" or p.with_suffix(".json") not in files]


def _ledgers(folder: Path) -> list[Path]:
    """Files of ledgers in a folder, or in its `runs`."""
    places = [place for place in (folder, folder / "runs") if place.is_dir()]
    return [file for place in places for file in sorted(place.glob(f"*{LEDGER}")) if is_ledger(file)]


def _linked(ledgers: Mapping[Path, str], folder: Path) -> dict[Path, str]:
    """Run directories, restored in `folder`, of the ledgers' runs that link a search; each with the name of its ledger.

    Searches in `searches/` beside a ledger, or beside its folder, are copied to the folder where runs look for them.
    """
    found: dict[Path, str] = {}
    for number, (file, name) in enumerate(ledgers.items()):
        for search in [
            s for place in (file.parent, file.parent.parent) for s in place.glob(f"{FOLDER}/*.json")
        ]:
            disk.write_bytes(own(folder / FOLDER) / search.name, disk.read_bytes(search))
        for entry in Ledger(file).entries():
            if entry.done and (config := entry.config).optim.search:
                # A ledger may have the same config on several texts.
                place = folder / f"{number}-{len(found)}"
                place.mkdir()
                found[restore(entry.record, place / config.run_name, entry.origin).path] = name
    return found


def _finished(folder: Path, damaged: list[str]) -> Iterator[Path]:
    """Finished runs in a folder, or in its `runs`; errors of others are added to `damaged`."""
    places = [place for place in (folder, folder / "runs") if place.is_dir()]
    for path in filter(_is_run, [path for place in places for path in sorted(place.iterdir())]):
        try:
            run = Run(path)
            check_finished(run)
        except LabError as error:
            damaged.append(printable(str(error)))
            continue
        if run.done:
            yield path


def _is_run(path: Path) -> bool:
    return (path / "config.json").is_file()


def _name(path: Path, root: Path) -> str:
    """The path relative to the parent of the path that the user gave: 'results/demo-length.csv', on every machine."""
    return printable(path.relative_to(root).as_posix())
