"""A study takes from a ledger the runs that are there already, and hands back those that it trained."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ngptlab.config import RunConfig
from ngptlab.folders import own, refuse_link
from ngptlab.ledger.book import Ledger
from ngptlab.ledger.record import restore
from ngptlab.runs import Run

Digest = Callable[[RunConfig], str]
"""The digest of the data that a config reads on this machine."""


@contextlib.contextmanager
def lent(
    ledger: Ledger | None,
    places: Mapping[Path, RunConfig],
    *,
    digest: Digest,
    note: Callable[[str], None],
    wanted: Callable[[Path], bool] = lambda path: True,
) -> Iterator[None]:
    """Put the runs of a ledger into `places` where these are empty; when the block ends, however, add what was trained there.

    Args:
        wanted: whether a place shall be filled; asked when the block begins.

    Raises:
        LabError: the ledger is damaged.
        OSError: it can't be written.
    """
    if ledger is None:
        yield
        return
    _take(ledger, {p: c for p, c in places.items() if wanted(p)}, digest=digest, note=note)
    try:
        yield
    finally:
        there = [Run(path) for path in places if (path / "config.json").exists()]
        if added := ledger.add(there):
            note(f"{_runs(len(added))} added to {ledger.path}")


def _take(
    ledger: Ledger, places: Mapping[Path, RunConfig], *, digest: Digest, note: Callable[[str], None]
) -> None:
    """Fill the places that are empty. Runs of one study read one text, because others can't be compared.

    Where something is left to train, that is the text of this machine; else what most of the runs have read.
    """
    empty = {config.hash: path for path, config in places.items() if not (path / "config.json").exists()}
    found = [entry for entry in ledger.entries() if entry.hash in empty]
    if not found:
        return
    left = [config for config in places.values() if config.hash in set(empty) - {e.hash for e in found}]
    texts = Counter(entry.data_digest for entry in found)
    text = digest(left[0]) if left else texts.most_common(1)[0][0]
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
