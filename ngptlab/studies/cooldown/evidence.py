"""Evidence of cooldown.json: losses of every row, gaps before and after the cooldown, speed-ups."""

from __future__ import annotations

from typing import Any

from ngptlab.claims.evidence import Ends, Evidence, Setting, Turn
from ngptlab.claims.reading import Gaps, Read, Reader, SpeedUp, Study, hashes, shown


class _CooldownRow(Read):
    arm: str
    steps: int
    tokens: int
    frac: float
    shape: str
    seeds: tuple[int, ...]
    losses: tuple[float, ...]
    gaps: Gaps | None
    runs: tuple[str, ...]
    params: int | None = None


class _Cooldown(Study):
    baseline: str
    rows: tuple[_CooldownRow, ...]
    speedups: tuple[SpeedUp, ...]
    context: int | None = None
    data: str = ""


def cooldown(held: Any, origin: str) -> Evidence:
    """Losses of every row, gaps before and after, and the speed-ups."""
    study, found = _Cooldown.model_validate(held), Evidence()
    base = {(r.steps, r.frac, r.shape): r for r in study.rows if r.arm == study.baseline}
    for row in study.rows:
        setting = Setting(
            origin=origin, params=row.params, tokens=row.tokens, context=study.context, data=shown(study.data)
        )
        if len(row.seeds) != len(row.losses):
            raise ValueError(f"{shown(row.arm)}: {len(row.seeds)} seeds, {len(row.losses)} losses")
        if row.losses:
            found.ends.append(
                Ends(
                    setting=setting,
                    group=(origin, row.steps, row.frac, row.shape),
                    frac=row.frac,
                    shape=shown(row.shape),
                    method=row.arm,
                    losses={str(s): loss for s, loss in zip(row.seeds, row.losses, strict=True)},
                    hashes=hashes(row.runs),
                    doubts=study.doubted,
                )
            )
        theirs = base.get((row.steps, row.frac, row.shape))
        if row.frac and row.gaps and row.gaps.before and theirs:
            found.turns.append(
                Turn(
                    setting=setting,
                    method=row.arm,
                    baseline=study.baseline,
                    frac=row.frac,
                    shape=shown(row.shape),
                    before=row.gaps.before.estimate,
                    after=row.gaps.after.estimate,
                    hashes=hashes([*theirs.runs, *row.runs]),
                    doubts=study.doubted,
                )
            )
    for speedup in study.speedups:
        arms = [row for row in study.rows if row.arm in (speedup.method, speedup.baseline)]
        # Of one cooldown only, which its schedule names.
        rows = [row for row in arms if speedup.schedule == f"cooldown {row.frac:g} {row.shape}"]
        params = max((row.params for row in rows if row.params), default=None)
        setting = Setting(origin=origin, params=params, context=study.context, data=shown(study.data))
        found.savings += speedup.savings(setting, [run for row in rows for run in row.runs], study.doubted)
    return found


READERS = (Reader(frozenset({"arms", "rows", "speedups"}), cooldown),)
