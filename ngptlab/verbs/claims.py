"""The verb `claims`: what others claimed, held against recorded runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ngptlab.errors import ConfigError

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


def act(options: argparse.Namespace) -> int:
    """Read, judge, print, write."""
    from rich.console import Console

    from ngptlab.claims.read import gather
    from ngptlab.claims.table import print_claims, table, write_claims
    from ngptlab.recipes.claims import sources

    if not options.paths and not RECORDED.is_dir():
        raise ConfigError("claims: no path given and no folder results here; give runs, studies or tables")
    evidence, mute = gather(options.paths or [RECORDED])
    groups = table(sources(), evidence)
    write_claims(groups, options.out)
    print_claims(groups, Console(highlight=False))
    if mute:
        print(f"Speaks to no claim: {', '.join(mute)}", file=sys.stderr)
    print(f"The table: {options.out / 'claims.md'}, .json")
    return 0
