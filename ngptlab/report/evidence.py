"""Evidence of report.json: final losses by seed, gaps where the cooldown begins, speed-ups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ngptlab.claims.evidence import Ends, Estimate, Evidence, Setting, Turn
from ngptlab.claims.reading import Reader, around, doubts_of, doubts_of_study, hashes, shown
from ngptlab.report.schema import Gap, Summary
from ngptlab.stats.declared import parsed
from ngptlab.studies.speedup.savings import savings


def report(content: Any, origin: str) -> Evidence:
    """Evidence of final losses by seed, gaps where the cooldown begins, and speed-ups."""
    record, evidence = parsed(Summary, content), Evidence()
    schedule, baseline, doubts = record["schedule"], record["baseline"], doubts_of_study(record)
    known = schedule["cooldown_shape"] or schedule["shape"] == "constant"
    frac = schedule["cooldown_steps"] / schedule["steps"] if known else None
    shape = shown(schedule["cooldown_shape"] or schedule["shape"])
    listed = {
        method: tuple(dict.fromkeys(shown(run["hash"]) for run in record["runs"] if run["method"] == method))
        for method in record["methods"]
    }
    for method, numbers in record["methods"].items():
        setting = Setting(
            origin=origin,
            params=numbers["params"],
            vocabulary_params=_vocabulary(record["config"]),
            tokens=numbers["tokens"],
            context=schedule["context"],
            data=shown(record["config"].get("data.source", "")),
        )
        evidence.ends.append(
            Ends(
                setting=setting,
                group=(origin,),
                frac=frac,
                shape=shape,
                method=method,
                losses=numbers["final_losses_by_seed"],
                hashes=listed[method],
                doubts=doubts,
            )
        )
        both = hashes(f"-{hash}" for hash in (*listed.get(baseline, ()), *listed[method]))
        gap, start = record["gaps"].get(method), schedule["cooldown_start_step"]
        if gap and frac and start is not None and (turn := _turn(gap, start)):
            evidence.turns.append(
                Turn(
                    setting=setting,
                    method=method,
                    baseline=baseline,
                    frac=frac,
                    shape=shape,
                    before=turn[0],
                    after=turn[1],
                    hashes=both,
                    doubts=doubts,
                )
            )
        for speedup in record.get("speedups", ()):
            if speedup["method"] == method:
                evidence.savings += savings(speedup, setting, both, (*doubts, *doubts_of(speedup)))
    return evidence


def _vocabulary(config: Mapping[str, str]) -> int:
    """Parameters of embedding and unembedding; 0 where the sizes are not recorded."""
    sizes = [config.get(f"model.{name}", "") for name in ("vocab_size", "d_model")]
    return (
        2 * int(sizes[0]) * int(sizes[1]) if all(size.isdecimal() and size.isascii() for size in sizes) else 0
    )


def _turn(gap: Gap, start: int) -> tuple[Estimate, Estimate] | None:
    """The gaps at the last validation before the cooldown, and at the end."""
    steps, errors = gap["steps"], gap["stderr"]
    if not len(steps) == len(gap["gap_nats"]) == len(errors or steps):
        raise ValueError("a gap has lists of different lengths")
    return around(start, steps, gap["gap_nats"], errors, max(1, len(gap["paired_seeds"])))


READERS = (Reader(frozenset({"methods", "gaps", "baseline"}), report),)
