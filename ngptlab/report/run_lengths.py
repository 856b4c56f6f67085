"""Runs of several lengths: the longest of each method are compared, and all are used for the speed-up."""

from __future__ import annotations

from collections.abc import Sequence

from ngptlab.errors import ConfigError
from ngptlab.stats import doubts
from ngptlab.stats.records import RunRecord, Seeds
from ngptlab.studies.speedup.numbers import SpeedUp, by_length, within_runs


def longest(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Each method's runs of its greatest length, methods in the order of their first run.

    Raises:
        ConfigError: two runs of one method have the same seeds and length.
    """
    seen: dict[tuple[str, Seeds, int], RunRecord] = {}
    lengths: dict[str, int] = {}
    for run in runs:
        steps = run.config.train.steps
        twin = seen.setdefault((run.method, run.seeds, steps), run)
        if twin is not run:
            fields = doubts.name_fields(doubts.differing([twin, run], ())) or "nothing"
            raise ConfigError(
                f"{twin.name} and {run.name}: two runs of {run.method} with the same seeds, "
                f"differing in {fields}; give one of them"
            )
        lengths[run.method] = max(steps, lengths.get(run.method, 0))
    return [
        r
        for method in lengths
        for r in runs
        if r.method == method and r.config.train.steps == lengths[method]
    ]


def speedups(runs: Sequence[RunRecord]) -> list[SpeedUp]:
    """Speed-ups of each method over the first one: by length where there are several lengths, then within runs."""
    baseline, *others = dict.fromkeys(run.method for run in runs)
    arms = {method: [run for run in runs if run.method == method] for method in (baseline, *others)}
    main = {method: longest(arm) for method, arm in arms.items()}
    found = [by_length(arms[other], arms[baseline]) for other in others]
    found += [within_runs(main[other], main[baseline]) for other in others]
    return [speedup for speedup in found if speedup]


def set_aside(runs: Sequence[RunRecord]) -> list[str]:
    """A sentence on the runs that are used for the speed-up only."""
    compared = {id(run) for run in longest(runs)}
    shorter = [run for run in runs if id(run) not in compared]
    if not shorter:
        return []
    lengths = sorted({run.config.train.steps for run in shorter})
    return [
        f"Shorter runs ({len(shorter)}, of {', '.join(map(str, lengths))} steps) are used for the speed-up only; "
        "the rest is about each method's longest runs."
    ]
