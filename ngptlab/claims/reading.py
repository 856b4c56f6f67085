"""What readers of results share: which files they read, records that leave unknown fields alone, doubts, speed-ups."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, Field

from ngptlab.claims.evidence import Estimate, Evidence, Factor, Savings, Setting
from ngptlab.config import Frozen
from ngptlab.stats import doubts
from ngptlab.stats.doubts import Doubt
from ngptlab.stats.speedup import Bounded
from ngptlab.terminal import printable

HASH = re.compile(r"-([0-9a-f]{8})$")


class Reader(NamedTuple):
    """What reads one kind of file of results."""

    holds: frozenset[str]
    """Keys by which the JSON object is recognized, or columns by which the table is."""
    read: Callable[[Any, str], Evidence]
    """Turns the file's content and its name into evidence. Raises ValueError (pydantic's too) where the file is damaged."""
    rows: bool = False
    """Whether it is a table."""


class Read(Frozen):
    """Base of what is read from a file; fields that no rule asks for are left alone."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


def hashes(names: Iterable[str]) -> tuple[str, ...]:
    """Config hashes from names of runs, each once."""
    found = [match[1] for name in names if (match := HASH.search(name))]
    return tuple(dict.fromkeys(found))


def seed_label(seed: int, data_seed: int | None) -> str:
    """'0', or '0/1' where the batches have a seed of their own."""
    return str(seed) if data_seed in (seed, None) else f"{seed}/{data_seed}"


def shown(text: str) -> str:
    """A text of a stranger's file, in a line."""
    return " ".join(printable(text).split())


UNRECORDED = Doubt(
    kind="recording", text="What makes it doubtful is not recorded: write it again with this version."
)


class _Doubt(Read):
    kind: doubts.Kind
    text: str
    arms: tuple[str, ...] = ()


class Doubted(Read):
    """Base of records with doubts. A file from before doubts had kinds forbids every claim."""

    doubts: tuple[_Doubt, ...] | None = None

    @property
    def doubted(self) -> tuple[Doubt, ...]:
        if self.doubts is None:
            return (UNRECORDED,)
        return tuple(Doubt(kind=d.kind, text=shown(d.text), arms=d.arms) for d in self.doubts)


NAMED = Doubt(
    kind="tuning", text="Written when a named grid of learning rates counted as tuning: no search is linked."
)


class Study(Doubted):
    """Base of what one study wrote."""

    searches: dict[str, str] | None = None
    """The search that each arm links, by arm."""

    @property
    def doubted(self) -> tuple[Doubt, ...]:
        named = (NAMED,) if self.searches is None else ()
        return (*super().doubted, *named)


class _Limit(Read):
    value: float = Field(gt=0)
    bound: Literal["measured", "at least", "at most"]

    @property
    def plain(self) -> Bounded:
        return {"value": self.value, "bound": self.bound}


class _Point(Read):
    tokens: int = Field(gt=0)
    by_seed: tuple[_Limit, ...] = ()


class SpeedUp(Doubted):
    method: str
    baseline: str
    kind: str
    runs: str
    schedule: str
    points: tuple[_Point, ...]

    def savings(self, setting: Setting, runs: Sequence[str], doubted: Sequence[Doubt]) -> list[Savings]:
        """Savings from whole runs. Points within runs give none, because a point half-way is not the end of a shorter run."""
        if self.kind != "by length" or not self.points:
            return []
        points = sorted(self.points, key=lambda p: p.tokens)
        return [
            Savings(
                setting=Setting(
                    origin=setting.origin,
                    params=setting.params,
                    tokens=points[-1].tokens,
                    context=setting.context,
                    data=setting.data,
                ),
                method=self.method,
                baseline=self.baseline,
                how=f"{shown(self.runs)}, {shown(self.schedule)}",
                factors=tuple(
                    Factor(tokens=p.tokens, by_seed=tuple(e.plain for e in p.by_seed)) for p in points
                ),
                hashes=hashes(runs),
                doubts=(*doubted, *self.doubted),
            )
        ]


class Difference(Read):
    mean: float
    pairs: int = Field(ge=1)
    ci95: float | None = None

    @property
    def estimate(self) -> Estimate:
        return Estimate(mean=self.mean, half=self.ci95, pairs=self.pairs)


class Gaps(Read):
    before: Difference | None
    after: Difference
