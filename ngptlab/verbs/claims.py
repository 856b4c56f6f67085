"""The verb `claims`: what others claimed, held against recorded runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ngptlab.errors import ConfigError
from ngptlab.terminal import remark, say

if TYPE_CHECKING:
    from ngptlab.claims.table import Group

RECORDED = Path("results")
"""What this repository has recorded, where no path is given."""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="run directories, folders of them, studies' folders, or files as in results/ (default: results)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/claims"),
        help="folder of claims.md and claims.json (default: out/claims)",
    )


def judged(paths: Sequence[Path]) -> tuple[list[Group], list[str], list[str]]:
    """Every claim, judged from these paths; the files that speak to none; and what is wrong with damaged runs."""
    from ngptlab.claims.table import table
    from ngptlab.evidence import gather
    from ngptlab.recipes.claims import sources

    evidence, mute, damaged = gather(paths)
    return table(sources(), evidence), mute, damaged


def act(options: argparse.Namespace) -> int:
    """Read, judge, print, write."""
    from ngptlab.claims.table import print_claims, write_claims
    from ngptlab.console import Console

    if not options.paths and not RECORDED.is_dir():
        raise ConfigError("claims: no path given and no folder results here; give runs, studies or tables")
    groups, mute, damaged = judged(options.paths or [RECORDED])
    write_claims(groups, options.out)
    print_claims(groups, Console())
    if mute:
        remark(f"Evidence for no claim: {', '.join(mute)}")
    for line in damaged:
        remark(f"Not counted: {line}")
    say(f"The table: {options.out / 'claims.md'}, .json")
    return 0
