"""What the samples of a soak say: memory, files and the time of a step, each with an interval and a limit."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.machine import Floats

WARM_UP = 0.1
"""Share of the time that is left out: allocators fill, and the pages of the text come in one by one."""
BLOCKS = 16
KEPT = 2
"""Checkpoints that are there between two saves."""
CHECKPOINT_FILES = 3
MEGABYTES_AN_HOUR = 1.0
"""Of memory: a training of a month would then grow by 0.7 GB."""
DRIFT_PERCENT = 5.0
"""Of a step's CPU time, from the beginning of the soak to later."""
FEWEST_PAIRS = 5


@dataclass(frozen=True)
class Judged:
    """One line of the table."""

    what: str
    found: str
    limit: str
    verdict: str
    """`holds`, `fails`, `undecided`; empty where nothing was asked."""


def slope(hours: Floats, values: Floats) -> tuple[float, float, float]:
    """Change an hour, with the ends of its interval of 95 %, from the means of blocks."""
    blocks = max(3, min(BLOCKS, len(values) // 3))
    x = np.array([part.mean() for part in np.array_split(hours, blocks)])
    y = np.array([part.mean() for part in np.array_split(values, blocks)])
    fit = stats.linregress(x, y)
    # Of values that are all equal the error is no number.
    half = float(stats.t.ppf(0.975, blocks - 2)) * float(np.nan_to_num(fit.stderr))
    return fit.slope, fit.slope - half, fit.slope + half


def verdict(low: float, high: float, *, least: float = -math.inf, most: float) -> str:
    """What an interval says of limits."""
    if least < low and high < most:
        return "holds"
    return "fails" if low > most or high < least else "undecided"


def judge(samples: Mapping[str, Sequence[float]], facts: Mapping[str, Any]) -> list[Judged]:
    """What was asked of the soak, line by line."""
    columns = {name: np.array(values, dtype=np.float64) for name, values in samples.items()}
    kept = columns["seconds"] >= WARM_UP * columns["seconds"][-1]
    at = {name: column[kept] for name, column in columns.items()}
    hours = at["seconds"] / 3600
    judged = [*memory(hours, at), *counts(at)]
    judged += [against_fresh(facts["fresh"]), *drifts(hours, at)]
    for reader in facts["readers"]:
        found = f"{reader['ended']}, {reader['wrong']} with another code than {reader['code']}"
        well = reader["ended"] > 0 == reader["wrong"]
        judged.append(Judged(reader["name"], found, "none", "holds" if well else "fails"))
    ended = facts["end"]
    found = f"code {ended['code']}, saved at step {ended['checkpoint']} of {ended['step']}"
    whole = ended["code"] == 128 + signal.SIGTERM and ended["checkpoint"] == ended["step"]
    judged.append(Judged("SIGTERM at the end", found, "143, the last step", "holds" if whole else "fails"))
    return judged


def memory(hours: Floats, at: Mapping[str, Floats]) -> list[Judged]:
    """Of the trainer, in all and without what files stand behind, and of `watch`."""
    judged = []
    for what, column in (
        ("memory", "rss_bytes"),
        ("memory without files", "anonymous_bytes"),
        ("memory of watch", "watch_rss_bytes"),
    ):
        mean, low, high = (value / 1e6 for value in slope(hours, at[column]))
        found = f"{mean:+.2f} ({low:+.2f}..{high:+.2f}) MB an hour at {at[column].mean() / 1e6:.0f} MB"
        limit = f"below {MEGABYTES_AN_HOUR:g}"
        judged.append(Judged(what, found, limit, verdict(low, high, most=MEGABYTES_AN_HOUR)))
    return judged


def counts(at: Mapping[str, Floats]) -> list[Judged]:
    """What must not become more: as it is usually, and at most, while a checkpoint more is there."""
    judged, middle = [], len(at["files"]) // 2
    one = float(np.median(at["bytes_beside"])) / KEPT
    for column, grows, saving in (
        ("files", 0.0, 2 * CHECKPOINT_FILES),
        ("bytes_beside", 256.0, 2 * one),  # numbers in a manifest get more digits
        ("descriptors", 0.0, 2.0),
        ("threads", 0.0, 0.0),
    ):
        first, second = (float(np.median(part)) for part in np.split(at[column], [middle]))
        most = float(at[column].max())
        found = f"usually {first:.0f}, then {second:.0f}; {most:.0f} at most"
        limit = f"usually {grows:.0f} more, {saving:.0f} while saving"
        well = second <= first + grows and most <= first + grows + saving
        judged.append(Judged(column.replace("_", " "), found, limit, "holds" if well else "fails"))
    return judged


def drifts(hours: Floats, at: Mapping[str, Floats]) -> list[Judged]:
    """Of a step's CPU time and wall time as they were. Not judged, because a neighbour on the machine changes both."""
    parts = np.array_split(np.arange(len(hours)), BLOCKS)
    steps = np.array([at["step"][part[-1]] - at["step"][part[0]] for part in parts])
    middles = np.array([hours[part].mean() for part in parts])
    judged = []
    for what, column in (("CPU time of a step", "cpu_seconds"), ("wall time of a step", "seconds")):
        values = np.array([at[column][part[-1]] - at[column][part[0]] for part in parts]) / steps
        mean, low, high = (
            100 * math.expm1((hours[-1] - hours[0]) * value) for value in slope(middles, np.log(values))
        )
        found = f"{mean:+.1f} ({low:+.1f}..{high:+.1f}) % in all, at {np.median(values) * 1e3:.2f} ms"
        judged.append(Judged(what, found, "", ""))
    return judged


def against_fresh(pairs: Sequence[Mapping[str, float]]) -> Judged:
    """How CPU time of a step of the old training over that of one just begun changes, each pair of the same moments.

    The ratio itself is not judged: where the memory of a process comes to lie makes it some percent faster or slower for good.
    """
    what, limit = "CPU time of a step over a fresh training's", f"within {DRIFT_PERCENT:g}"
    if len(pairs) < FEWEST_PAIRS:
        return Judged(what, f"{len(pairs)} pairs; {FEWEST_PAIRS} are needed", limit, "undecided")
    hours = np.array([pair["seconds"] / 3600 for pair in pairs])
    logs = np.log([pair["old_ms"] / pair["fresh_ms"] for pair in pairs])
    fit = stats.linregress(hours, logs)
    half = float(stats.t.ppf(0.975, len(logs) - 2)) * float(fit.stderr)
    whole = hours[-1] - hours[0]
    mean, low, high = (100 * math.expm1(whole * (fit.slope + way * half)) for way in (0, -1, 1))
    ratio = math.exp(logs.mean())
    found = f"{mean:+.1f} ({low:+.1f}..{high:+.1f}) % in all, at {ratio:.3f}, {len(logs)} pairs"
    return Judged(what, found, limit, verdict(low, high, least=-DRIFT_PERCENT, most=DRIFT_PERCENT))
