"""A claim, the scale that it needs, and the outcome of its rule."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypedDict

from ngptlab.claims.evidence import Estimate, Evidence, Setting

Verdict = Literal["holds", "does not hold", "not yet tested", "out of reach here"]
VERDICTS: tuple[Verdict, ...] = ("holds", "does not hold", "not yet tested", "out of reach here")


class Pair(TypedDict):
    """Two fields of most rules, written as `**PAIR` in a source's file."""

    method: str
    baseline: str


@dataclass(frozen=True, kw_only=True)
class Held:
    """A statistic over seeds, and the limits that it was compared with."""

    found: Estimate
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    """Unit of the statistic, with a blank before it, such as ' nats'."""
    ratio: bool = False
    """Whether the statistic is the logarithm of a ratio."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A rule's result, and the evidence behind it."""

    verdict: Verdict
    measured: str = ""
    """The statistic with its interval; empty where nothing was measured."""
    reason: str = ""
    """Why the claim is not yet tested, or out of reach."""
    settings: tuple[Setting, ...] = ()
    """The scales of the measurements."""
    seeds: int = 0
    hashes: tuple[str, ...] = ()
    """Hashes of the configs of the runs behind `measured`."""
    held: tuple[Held, ...] = ()
    """Every statistic over seeds that decides. Empty for step times, which are compared over turns."""


class Rule(Protocol):
    """How a claim is judged. A rule is frozen and without state, so the same evidence gives the same outcome."""

    def judge(self, evidence: Evidence) -> Outcome:
        """The outcome, from the evidence alone."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The smallest scale at which a statement means anything. 0: any."""

    context: int = 0
    """Tokens of the training context."""
    tokens: int = 0
    params: int = 0

    def met_by(self, setting: Setting) -> bool:
        """Whether a setting is large enough; a number that is not recorded meets no need."""
        pairs = (
            (self.context, setting.context),
            (self.tokens, setting.tokens),
            (self.params, setting.params),
        )
        return all(not need or (had is not None and had >= need) for need, had in pairs)

    @property
    def text(self) -> str:
        """The needs in words: 'contexts of 4,096 tokens and more'."""
        parts = [
            f"{words} of {need:,} {unit}and more"
            for words, need, unit in (
                ("contexts", self.context, "tokens "),
                ("runs", self.tokens, "tokens "),
                ("models", self.params, "parameters "),
            )
            if need
        ]
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement of a source, and how it is to be judged."""

    id: str
    """Name in lower case with dashes. It never changes, because rows are cited by it."""
    statement: str
    source: str
    """Figure, table or section of the source."""
    scale: str
    """The scale at which the source made the claim."""
    rule: Rule
    needs: Needs = field(default_factory=Needs)
    corrected: str = ""
    """A later correction or discussion, with its source."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A paper or a repository, with its claims."""

    title: str
    where: str
    """arXiv id or repository."""
    claims: tuple[Claim, ...]


def judge(claim: Claim, evidence: Evidence) -> Outcome:
    """The outcome of a claim's rule over evidence at the scale that the claim needs; without such evidence, out of reach."""
    found = claim.rule.judge(evidence.where(claim.needs.met_by))
    if claim.needs == Needs() or found.verdict != "not yet tested" or found.settings:
        return found
    elsewhere = claim.rule.judge(evidence)
    recorded = (
        f"; recorded: {largest(elsewhere.settings)}" if elsewhere.settings else ", and none is recorded"
    )
    return Outcome(verdict="out of reach here", reason=f"it needs {claim.needs.text}{recorded}")


def largest(settings: Iterable[Setting]) -> str:
    """The largest context, tokens and parameters among these settings."""
    found: list[str] = []
    listed: Sequence[Setting] = list(settings)
    for words, values in (
        ("context", [s.context for s in listed]),
        ("tokens", [s.tokens for s in listed]),
        ("parameters", [s.params for s in listed]),
    ):
        known = [value for value in values if value is not None]
        if known:
            found.append(f"{words} {max(known):,}")
    return ", ".join(found) or "runs whose scale is not written down"
