"""The verb `bench`: what a training step costs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ngptlab.options.methods import Methods
from ngptlab.options.types import count
from ngptlab.terminal import remark, say, say_path


def add(bench: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    from ngptlab.bench.axes import AXES, FULL, QUICK

    bench.add_argument(
        "what",
        choices=["scaling"],
        help="scaling: how time and memory grow with each size, and their exponents",
    )
    bench.add_argument(
        "--methods",
        action=Methods,
        nargs="+",
        metavar="M",
        help="methods, interleaved (default: those of the recipe demo)",
    )
    bench.add_argument(
        "--axes",
        nargs="+",
        choices=AXES,
        default=AXES,
        metavar="A",
        help=f"some of {', '.join(AXES)} (default: all)",
    )
    bench.add_argument(
        "--turns",
        type=count,
        metavar="N",
        help=f"steps measured of each method at each size (default: {FULL.turns}; quick: {QUICK.turns})",
    )
    bench.add_argument(
        "--quick", action="store_true", help="sizes so small that it only shows that all works"
    )
    bench.add_argument(
        "--out",
        type=Path,
        default=Path("out/bench/scaling"),
        help="folder of scaling.json and scaling.png (default: out/bench/scaling)",
    )


def act(options: argparse.Namespace) -> int:
    """Measure, draw, print."""
    from ngptlab.bench.scaling import scaling
    from ngptlab.recipes import recipe

    table = scaling(
        options.methods or recipe("demo").methods,
        axes=options.axes,
        turns=options.turns,
        quick=options.quick,
        out=options.out,
        tell=remark,
    )
    say(table)
    say_path(options.out)
    return 0
