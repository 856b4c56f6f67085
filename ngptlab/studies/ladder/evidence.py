"""Evidence of ladder.json: the change of loss by each step."""

from __future__ import annotations

from typing import Any

from ngptlab.claims.evidence import Estimate, Evidence, Setting, Step
from ngptlab.claims.reading import Reader, doubts_of_study, hashes, shown
from ngptlab.stats.declared import parsed
from ngptlab.stats.doubts import Doubt
from ngptlab.studies.ladder.numbers import Ladder, RungNumbers


def ladder(content: Any, origin: str) -> Evidence:
    """Evidence of each step's change of the loss."""
    record, evidence = parsed(Ladder, content), Evidence()
    rungs = {rung["label"]: rung for rung in record["rungs"]}
    doubts = doubts_of_study(record)
    for rung in record["rungs"]:
        adds = rung["adds"]
        against = rungs.get(adds["against"]) if adds else None
        if adds is None or against is None:
            continue
        cumulative = record["mode"] == "cumulative"
        evidence.steps.append(
            Step(
                setting=Setting(
                    origin=origin,
                    params=rung.get("params"),
                    tokens=record.get("tokens"),
                    context=record.get("context"),
                    data=shown(record.get("data", "")),
                ),
                base=record["base"],
                target=record["target"],
                mode=shown(record["mode"]),
                seams=_seams_between(record["rungs"], against, rung) if cumulative else tuple(rung["seams"]),
                adds=Estimate(mean=adds["nats"], half=adds["ci95"], pairs=adds["pairs"]),
                tuned=_tuned(rung) and _tuned(against),
                hashes=hashes([*against["runs"], *rung["runs"]]),
                rungs=(rung["label"], against["label"]),
                doubts=doubts + _untuned(record, rung, against),
            )
        )
    return evidence


def _tuned(rung: RungNumbers) -> bool:
    return rung.get("tuned", False)


def _untuned(ladder: Ladder, *pair: RungNumbers) -> tuple[Doubt, ...]:
    """Doubts about rungs that are whole methods and not tuned. Mixtures have no search, so they are not asked."""
    ends = (ladder["base"], ladder["target"])
    return tuple(
        Doubt(kind="tuning", arms=(rung["label"],), text=f"Learning rate of {shown(rung['arm'])}: not tuned.")
        for rung in pair
        if rung["arm"] in ends and not _tuned(rung)
    )


def _seams_between(rungs: list[RungNumbers], against: RungNumbers, rung: RungNumbers) -> tuple[str, ...]:
    """The seams that differ between two rungs; those of several steps where a rung between has no result."""
    steps = rungs[rungs.index(against) + 1 : rungs.index(rung) + 1]
    return tuple(seam for step in steps for seam in step["seams"])


READERS = (Reader(frozenset({"rungs", "base", "target"}), ladder),)
