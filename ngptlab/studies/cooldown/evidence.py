"""Evidence of cooldown.json: losses of every row, gaps before and after the cooldown, speed-ups."""

from __future__ import annotations

from typing import Any

from ngptlab.claims.evidence import Ends, Estimate, Evidence, Setting, Turn
from ngptlab.claims.reading import Reader, doubts_of, doubts_of_study, hashes, shown
from ngptlab.stats.declared import parsed
from ngptlab.stats.estimates import Difference
from ngptlab.studies.cooldown.numbers import Row, Study
from ngptlab.studies.speedup.savings import savings


def cooldown(content: Any, origin: str) -> Evidence:
    """Evidence of every row's losses, of the gaps before and after the cooldown, and of the speed-ups."""
    study, evidence = parsed(Study, content), Evidence()
    doubts = doubts_of_study(study)
    base = {_place(row): row for row in study["rows"] if row["arm"] == study["baseline"]}
    for row in study["rows"]:
        setting = _setting(study, origin, row.get("params"), row["tokens"])
        shape = shown(row["shape"])
        if len(row["seeds"]) != len(row["losses"]):
            raise ValueError(f"{shown(row['arm'])}: {len(row['seeds'])} seeds, {len(row['losses'])} losses")
        if row["losses"]:
            evidence.ends.append(
                Ends(
                    setting=setting,
                    group=(origin, *_place(row)),
                    frac=row["frac"],
                    shape=shape,
                    method=row["arm"],
                    losses={str(s): loss for s, loss in zip(row["seeds"], row["losses"], strict=True)},
                    hashes=hashes(row["runs"]),
                    doubts=doubts,
                )
            )
        theirs, gaps = base.get(_place(row)), row["gaps"]
        if row["frac"] and gaps and gaps["before"] and theirs:
            evidence.turns.append(
                Turn(
                    setting=setting,
                    method=row["arm"],
                    baseline=study["baseline"],
                    frac=row["frac"],
                    shape=shape,
                    before=_estimate(gaps["before"]),
                    after=_estimate(gaps["after"]),
                    hashes=hashes([*theirs["runs"], *row["runs"]]),
                    doubts=doubts,
                )
            )
    for speedup in study["speedups"]:
        arms = [row for row in study["rows"] if row["arm"] in (speedup["method"], speedup["baseline"])]
        # Each speed-up is over runs of one cooldown, which its schedule names.
        rows = [row for row in arms if speedup["schedule"] == f"cooldown {row['frac']:g} {row['shape']}"]
        params = max((params for row in rows if (params := row.get("params"))), default=None)
        listed = hashes(run for row in rows for run in row["runs"])
        evidence.savings += savings(
            speedup, _setting(study, origin, params), listed, (*doubts, *doubts_of(speedup))
        )
    return evidence


def _place(row: Row) -> tuple[int, float, str]:
    """The fields that a method's row shares with the baseline's."""
    return row["steps"], row["frac"], row["shape"]


def _setting(study: Study, origin: str, params: int | None, tokens: int | None = None) -> Setting:
    context, data = study.get("context"), shown(study.get("data", ""))
    return Setting(origin=origin, params=params, tokens=tokens, context=context, data=data)


def _estimate(gap: Difference) -> Estimate:
    return Estimate(mean=gap["mean"], half=gap.get("ci95"), pairs=gap["pairs"])


READERS = (Reader(frozenset({"arms", "rows", "speedups"}), cooldown),)
