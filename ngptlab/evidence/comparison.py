"""Evidence of report.json: final losses by seed, gaps where the cooldown begins, speed-ups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from ngptlab.claims.evidence import Ends, Estimate, Evidence, Setting, Turn
from ngptlab.claims.reading import Read, Reader, SpeedUp, Study, hashes, shown
from ngptlab.stats import estimates as stats


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


class _Report(Study):
    baseline: str
    methods: dict[str, _Method]
    gaps: dict[str, _Gap]
    speedups: tuple[SpeedUp, ...] = ()
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


READERS = (Reader(frozenset({"methods", "gaps", "baseline"}), report),)
