"""Evidence of the JSON that studies write: cooldown.json, ladder.json, report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from ngptlab.analysis import doubts, stats
from ngptlab.analysis.doubts import Doubt
from ngptlab.analysis.speedup import Bounded
from ngptlab.claims.evidence import Ends, Estimate, Evidence, Factor, Savings, Setting, Step, Turn
from ngptlab.claims.read.fields import Read, hashes, shown

UNRECORDED = Doubt(
    kind="recording", text="What makes it doubtful is not recorded: write it again with this version."
)


class _Doubt(Read):
    kind: doubts.Kind
    text: str
    arms: tuple[str, ...] = ()


class _Doubted(Read):
    """Base of what has doubts written beside it; a file of before they had kinds forbids every claim."""

    doubts: tuple[_Doubt, ...] | None = None

    @property
    def doubted(self) -> tuple[Doubt, ...]:
        if self.doubts is None:
            return (UNRECORDED,)
        return tuple(Doubt(kind=d.kind, text=shown(d.text), arms=d.arms) for d in self.doubts)


NAMED = Doubt(
    kind="tuning", text="Written when a named grid of learning rates counted as tuning: no search is linked."
)


class _Study(_Doubted):
    """Base of what one study wrote."""

    searches: dict[str, str] | None = None
    """By arm, the search that it links."""

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


class _SpeedUp(_Doubted):
    method: str
    baseline: str
    kind: str
    runs: str
    schedule: str
    points: tuple[_Point, ...]

    def savings(self, setting: Setting, runs: Sequence[str], doubted: Sequence[Doubt]) -> list[Savings]:
        """Nothing of points within runs: a point half-way is not the end of a shorter run."""
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


class _Difference(Read):
    mean: float
    pairs: int = Field(ge=1)
    ci95: float | None = None

    @property
    def estimate(self) -> Estimate:
        return Estimate(mean=self.mean, half=self.ci95, pairs=self.pairs)


class _Gaps(Read):
    before: _Difference | None
    after: _Difference


class _CooldownRow(Read):
    arm: str
    steps: int
    tokens: int
    frac: float
    shape: str
    seeds: tuple[int, ...]
    losses: tuple[float, ...]
    gaps: _Gaps | None
    runs: tuple[str, ...]
    params: int | None = None


class _Cooldown(_Study):
    baseline: str
    rows: tuple[_CooldownRow, ...]
    speedups: tuple[_SpeedUp, ...]
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


class _Ladder(_Study):
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


class _Method(Read):
    params: int
    tokens: int
    final_losses_by_seed: dict[str, float]


class _Gap(Read):
    paired_seeds: tuple[str, ...]
    steps: tuple[int, ...]
    gap_nats: tuple[float, ...]
    stderr: tuple[float, ...] | None


class _Schedule(Read):
    shape: str
    steps: int = Field(gt=0)
    context: int
    cooldown_shape: str | None
    cooldown_steps: int
    cooldown_start_step: int | None


class _Run(Read):
    hash: str
    method: str
    seed: int
    data_seed: int
    steps: int


class _Report(_Study):
    baseline: str
    methods: dict[str, _Method]
    gaps: dict[str, _Gap]
    speedups: tuple[_SpeedUp, ...] = ()
    runs: tuple[_Run, ...]
    config: dict[str, str]
    schedule: _Schedule


def report(held: Any, origin: str) -> Evidence:
    """Final losses by seed, gaps where the cooldown begins, and the speed-ups."""
    read, found = _Report.model_validate(held), Evidence()
    schedule = read.schedule
    data = shown(read.config.get("data.source", ""))
    known = schedule.cooldown_shape or schedule.shape == "constant"
    frac = schedule.cooldown_steps / schedule.steps if known else None
    shape = shown(schedule.cooldown_shape or schedule.shape)
    listed = {
        method: tuple(dict.fromkeys(shown(run.hash) for run in read.runs if run.method == method))
        for method in read.methods
    }
    for method, numbers in read.methods.items():
        setting = Setting(
            origin=origin,
            params=numbers.params,
            vocabulary_params=_vocabulary(read.config),
            tokens=numbers.tokens,
            context=schedule.context,
            data=data,
        )
        found.ends.append(
            Ends(
                setting=setting,
                group=(origin,),
                frac=frac,
                shape=shape,
                method=method,
                losses=numbers.final_losses_by_seed,
                hashes=listed[method],
                doubts=read.doubted,
            )
        )
        both = [f"-{hash}" for hash in (*listed.get(read.baseline, ()), *listed[method])]
        gap = read.gaps.get(method)
        if gap and frac and schedule.cooldown_start_step is not None:
            turn = _turn(gap, schedule.cooldown_start_step)
            if turn:
                found.turns.append(
                    Turn(
                        setting=setting,
                        method=method,
                        baseline=read.baseline,
                        frac=frac,
                        shape=shape,
                        before=turn[0],
                        after=turn[1],
                        hashes=hashes(both),
                        doubts=read.doubted,
                    )
                )
        for speedup in read.speedups:
            if speedup.method == method:
                found.savings += speedup.savings(setting, both, read.doubted)
    return found


def _vocabulary(config: Mapping[str, str]) -> int:
    """Parameters of embedding and unembedding; 0 where the sizes are not recorded."""
    sizes = [config.get(f"model.{name}", "") for name in ("vocab_size", "d_model")]
    return (
        2 * int(sizes[0]) * int(sizes[1]) if all(size.isdecimal() and size.isascii() for size in sizes) else 0
    )


def _turn(gap: _Gap, start: int) -> tuple[Estimate, Estimate] | None:
    """The gap at the last validation before the cooldown, and at the end."""
    if not len(gap.steps) == len(gap.gap_nats) == len(gap.stderr or gap.steps):
        raise ValueError("a gap has lists of different lengths")
    before = [i for i, step in enumerate(gap.steps) if 0 < step <= start]
    if not before:
        return None
    pairs = max(1, len(gap.paired_seeds))
    found = []
    for i in (before[-1], len(gap.steps) - 1):
        error = gap.stderr[i] if gap.stderr else None
        found.append(Estimate(mean=gap.gap_nats[i], half=stats.ci95(error, pairs), pairs=pairs))
    return found[0], found[1]
