"""Common parts of readers of results: kinds of files, labels of runs, doubts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ngptlab.claims.evidence import Estimate, Evidence
from ngptlab.stats import estimates as stats
from ngptlab.stats.doubts import Doubt, Doubted, Searched
from ngptlab.terminal import printable

HASH = re.compile(r"-([0-9a-f]{8})$")


class Reader(NamedTuple):
    """Reader of one kind of file of results."""

    holds: frozenset[str]
    """Keys by which a JSON object, or columns by which a table, is recognized."""
    read: Callable[[Any, str], Evidence]
    """Turns the file's content and its name into evidence. Raises ValueError (pydantic's too) or KeyError where the file is
    damaged."""
    rows: bool = False
    """Whether the file is a table."""


def hashes(names: Iterable[str]) -> tuple[str, ...]:
    """Config hashes from names of runs, each once."""
    found = [match[1] for name in names if (match := HASH.search(name))]
    return tuple(dict.fromkeys(found))


def seed_label(seed: int, data_seed: int | None) -> str:
    """A run's seeds as text: '0', or '0/1' where the batches have a seed of their own."""
    return str(seed) if data_seed in (seed, None) else f"{seed}/{data_seed}"


def around(
    start: int, steps: Sequence[int], gaps: Sequence[float], errors: Sequence[float] | None, pairs: int
) -> tuple[Estimate, Estimate] | None:
    """A gap at the last validation before a cooldown that begins after `start` steps, and at the end.

    None where no validation lies before it. `errors` are standard errors over so many pairs of seeds.
    """
    before = [i for i, step in enumerate(steps) if 0 < step <= start]
    if not before:
        return None
    at = [
        Estimate(mean=gaps[i], half=stats.ci95(errors[i] if errors else None, pairs), pairs=pairs)
        for i in (before[-1], len(steps) - 1)
    ]
    return at[0], at[1]


def shown(text: str) -> str:
    """A text from a stranger's file, printable and in one line."""
    return " ".join(printable(text).split())


UNRECORDED = Doubt(
    kind="recording", text="Its doubts are not recorded: write the file again with this version."
)
NAMED = Doubt(
    kind="tuning", text="Written when a named grid of learning rates counted as tuning: no search is linked."
)


def doubts_of(record: Doubted) -> tuple[Doubt, ...]:
    """The doubts in a file. A file from before doubts had kinds forbids every claim."""
    recorded = record.get("doubts")
    if recorded is None:
        return (UNRECORDED,)
    return tuple(
        Doubt(kind=d["kind"], text=shown(d["text"]), arms=tuple(d.get("arms", ()))) for d in recorded
    )


def doubts_of_study(study: Searched) -> tuple[Doubt, ...]:
    """The doubts in a study's file. A file from before searches were linked forbids every claim."""
    return (*doubts_of(study), *(() if "searches" in study else (NAMED,)))
