"""Evidence of ladder.json: what each step adds."""

from __future__ import annotations

from typing import Any

from ngptlab.claims.evidence import Estimate, Evidence, Setting, Step
from ngptlab.claims.reading import Read, Reader, Study, hashes, shown
from ngptlab.stats.doubts import Doubt


class _Adds(Read):
    against: str
    nats: float
    ci95: float | None
    pairs: int


class _Rung(Read):
    label: str
    arm: str
    seams: tuple[str, ...]
    runs: tuple[str, ...]
    params: int | None = None
    tuned: bool = False
    adds: _Adds | None
    final_loss_nats: float | None


class _Ladder(Study):
    base: str
    target: str
    mode: str
    rungs: tuple[_Rung, ...]
    context: int | None = None
    tokens: int | None = None
    data: str = ""


def ladder(held: Any, origin: str) -> Evidence:
    """What each step adds."""
    read, found = _Ladder.model_validate(held), Evidence()
    rungs = {rung.label: rung for rung in read.rungs}
    for rung in read.rungs:
        against = rungs.get(rung.adds.against) if rung.adds else None
        if rung.adds is None or against is None:
            continue
        found.steps.append(
            Step(
                setting=Setting(
                    origin=origin,
                    params=rung.params,
                    tokens=read.tokens,
                    context=read.context,
                    data=shown(read.data),
                ),
                base=read.base,
                target=read.target,
                mode=shown(read.mode),
                seams=_since(list(read.rungs), against, rung) if read.mode == "cumulative" else rung.seams,
                adds=Estimate(mean=rung.adds.nats, half=rung.adds.ci95, pairs=rung.adds.pairs),
                tuned=rung.tuned and against.tuned,
                hashes=hashes([*against.runs, *rung.runs]),
                rungs=(rung.label, against.label),
                doubts=read.doubted + _untuned(read, rung, against),
            )
        )
    return found


def _untuned(ladder: _Ladder, *pair: _Rung) -> tuple[Doubt, ...]:
    """A method itself must be tuned, whichever way a step goes; a mixture records no grid."""
    ends = (ladder.base, ladder.target)
    return tuple(
        Doubt(kind="tuning", arms=(rung.label,), text=f"Learning rate of {shown(rung.arm)}: not tuned.")
        for rung in pair
        if rung.arm in ends and not rung.tuned
    )


def _since(rungs: list[_Rung], against: _Rung, rung: _Rung) -> tuple[str, ...]:
    """The seams of all steps between two rungs; more than the last one's where a rung has no result."""
    steps = rungs[rungs.index(against) + 1 : rungs.index(rung) + 1]
    return tuple(seam for step in steps for seam in step.seams)


READERS = (Reader(frozenset({"rungs", "base", "target"}), ladder),)
