"""Trials of faults in any number: `python tests/faults/campaign.py kills=200 signals=40 [--seed 0] [--minutes 30]`.

Kinds take turns, so that each has had a share when the time is over. After each turn what is known stands in `--out`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from crash_trials import CASES, of_kind
from flip_trials import flips
from forking import Lab, Tally, begin
from full_disk_trials import async_full_disks, full_disks, release
from kill_trials import async_kills, cli_kills, kills
from order_trials import orders
from rank_trials import async_full_ranks, async_rank_kills, frozen_ranks, full_ranks, rank_kills
from signal_trials import async_signals, signals
from start_trials import starts

ALL = (kills, cli_kills, signals, full_disks, flips, orders, starts, rank_kills, frozen_ranks, full_ranks)
BESIDE = (async_kills, async_signals, async_full_disks, async_rank_kills, async_full_ranks)
KINDS = {work.__name__: work for work in (*ALL, *BESIDE)} | {kind: of_kind(kind) for kind in CASES}
ENDED = "ended by"


def campaign(
    targets: dict[str, int], folder: Path, *, seed: int, turns: int, seconds: float, out: Path | None
) -> list[Tally]:
    """Do so many trials of each kind, or as many as there is time for."""
    begin(folder)
    lab, began = Lab(folder), time.monotonic()
    tallies = {kind: Tally(kind) for kind in targets}
    draws = {kind: random.Random(f"{kind} {seed}") for kind in targets}
    for turn in range(1, turns + 1):
        for kind, target in targets.items():
            if time.monotonic() - began > seconds:
                return list(tallies.values())
            start, tally = time.monotonic(), tallies[kind]
            if any(line.startswith(ENDED) for line in tally.wrong):
                continue
            try:
                KINDS[kind](lab, tally, -(-target * turn // turns), draws[kind])
            except Exception as error:  # the other kinds go on
                tally.wrong.append(f"{ENDED} {type(error).__name__}: {error}")
            tally.seconds = round(tally.seconds + time.monotonic() - start, 1)
            if out:
                write(out, targets, list(tallies.values()), seed)
    return list(tallies.values())


def write(out: Path, targets: dict[str, int], tallies: list[Tally], seed: int) -> None:
    """Put what is known into a file, in one rename."""
    # A Counter is no dict to `asdict`.
    found = [{**vars(tally), "facts": dict(tally.facts), "target": targets[tally.kind]} for tally in tallies]
    beside = out.with_name(f".{out.name}.new")
    beside.write_text(json.dumps({"seed": seed, "trials": found}, indent=2) + "\n")
    beside.replace(out)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("targets", nargs="+", metavar="KIND=COUNT", help=f"kinds: {', '.join(KINDS)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--folder", type=Path, help="for the trials; new (default: a temporary one)")
    parser.add_argument("--out", type=Path, help="a JSON of what was found")
    options = parser.parse_args()
    targets = {kind: int(count) for kind, _, count in (target.partition("=") for target in options.targets)}
    if unknown := set(targets) - set(KINDS):
        parser.error(f"no kinds {sorted(unknown)}; there are {', '.join(KINDS)}")
    with tempfile.TemporaryDirectory(prefix="trials-") as temporary:
        folder, seconds = options.folder or Path(temporary), 60 * options.minutes
        try:
            tallies = campaign(
                targets, folder, seed=options.seed, turns=options.turns, seconds=seconds, out=options.out
            )
        finally:
            release(folder)
    for tally in tallies:
        facts = ", ".join(f"{count} {fact}" for fact, count in sorted(tally.facts.items()))
        print(
            f"{tally.kind}: {tally.done} of {targets[tally.kind]}, {len(tally.wrong)} wrong, {tally.seconds} s ({facts})"
        )
        for line in tally.wrong[:20]:
            print(f"    {line}")
    return int(any(tally.wrong for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
