"""Lend runs of a ledger to a study, and add the runs that the study trained."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ngptlab.config import RunConfig
from ngptlab.errors import LabError
from ngptlab.folders import own, refuse_link
from ngptlab.ledger.book import Ledger
from ngptlab.ledger.record import restore
from ngptlab.runs import Run

Digest = Callable[[RunConfig], str]
"""Returns the digest of the data that a config reads on this machine."""


@contextlib.contextmanager
def lent(
    ledger: Ledger | None,
    places: Mapping[Path, RunConfig],
    *,
    digest: Digest,
    note: Callable[[str], None],
    wanted: Callable[[Path], bool] = lambda path: True,
) -> Iterator[None]:
    """Put runs of a ledger into `places` that are empty. When the block ends, also by an error, add the runs trained there.

    Args:
        wanted: tells whether a place is filled; called when the block begins.

    Raises:
        LabError: the ledger is damaged.
        OSError: it can't be written.
    """
    if ledger is None:
        yield
        return
    _take(ledger, places, wanted, digest=digest, note=note)
    try:
        yield
    except BaseException:
        # The user must see the error that ended the study, not an error of the ledger.
        with contextlib.suppress(LabError, OSError):
            _hand_back(ledger, places, note)
        raise
    _hand_back(ledger, places, note)


def _hand_back(ledger: Ledger, places: Mapping[Path, RunConfig], note: Callable[[str], None]) -> None:
    there = [Run(path) for path in places if (path / "config.json").exists()]
    if added := ledger.add(there):
        note(f"{_runs(len(added))} added to {ledger.path}")


def _take(
    ledger: Ledger,
    places: Mapping[Path, RunConfig],
    wanted: Callable[[Path], bool],
    *,
    digest: Digest,
    note: Callable[[str], None],
) -> None:
    """Fill the places that are empty and wanted, with runs of one text, because runs of different texts can't be compared.

    The text is that of runs already in place. Without such runs, it is this machine's text if a run is left to train, or else
    the text of most runs.
    """
    there = [path for path in places if (path / "config.json").exists()]
    empty = {config.hash: path for path, config in places.items() if path not in there and wanted(path)}
    found = [entry for entry in ledger.entries() if entry.hash in empty]
    if not found:
        return
    texts = [text for path in there if (text := Run(path).env.get("data_digest"))]
    left = [config for config in places.values() if config.hash in set(empty) - {e.hash for e in found}]
    if not texts:
        texts = [digest(left[0])] if left else [entry.data_digest for entry in found]
    text = Counter(texts).most_common(1)[0][0]
    fitting = {entry.hash: entry for entry in found if entry.data_digest == text}
    for key, entry in fitting.items():
        own(empty[key].parent)
        refuse_link(empty[key])
        restore(entry.record, empty[key], entry.origin)
    if others := {entry.hash for entry in found} - set(fitting):
        note(
            f"{_runs(len(others))} of {ledger.path} left there: they read other data than {text[:8]}, which this study reads"
        )
    if fitting:
        note(f"{_runs(len(fitting))} taken from {ledger.path}")


def _runs(number: int) -> str:
    return f"{number} run{'s' * (number > 1)}"
