"""The verb `check`: a coordinate check, or the table of a parametrization. Imports torch only when one is run."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ngptlab.config import Dims, OptimConfig, ParamConfig, explain
from ngptlab.config.method_name import stem
from ngptlab.errors import ConfigError
from ngptlab.options.methods import Methods
from ngptlab.options.types import count, number, runs, size
from ngptlab.terminal import Line, say

NAME = "check"
SUMMARY = "Check a parametrization: coord, or the table of what it sets."
TAKES_RECIPE = False


def add(check: argparse.ArgumentParser) -> None:
    """Give the verb's parser its two kinds of checks."""
    kinds = check.add_subparsers(title="checks", required=True, metavar="CHECK")
    coord = kinds.add_parser(
        "coord",
        help="Train a few steps at several widths; do activations change alike? Exit code 1 where not.",
        allow_abbrev=False,
    )
    _common(coord)
    coord.add_argument("--widths", type=size, nargs="+", default=[64, 128, 256, 512], metavar="D")
    coord.add_argument("--steps", type=size, default=10, metavar="N")
    coord.add_argument("--seeds", type=runs, default=3, metavar="N", help="seeds at each width (default: 3)")
    coord.add_argument("--lr", type=number, default=2**-8, help="at the base width (default: 2^-8)")
    coord.add_argument(
        "--base", type=size, metavar="D", help="base width, one of --widths (default: the smallest)"
    )
    coord.add_argument(
        "--head-width", type=size, default=16, metavar="K", help="d_head at all widths (default: 16)"
    )
    coord.add_argument(
        "--out", type=Path, help="folder of coord.json, .csv, .png and .svg (default: out/coord-...)"
    )
    coord.set_defaults(action=_coord)
    table = kinds.add_parser(
        "table",
        help="Print what each tensor gets: initial std, optimizer, learning rate, decay. Trains nothing.",
        allow_abbrev=False,
    )
    _common(table)
    table.add_argument("--width", type=size, default=256, metavar="D", help="d_model (default: 256)")
    table.add_argument("--base", type=size, default=64, metavar="D", help="base width (default: 64)")
    table.add_argument("--head-width", type=size, default=64, metavar="K", help="d_head (default: 64)")
    table.add_argument("--layers", type=size, default=4, metavar="L", help="blocks (default: 4)")
    table.add_argument("--base-layers", type=size, default=0, metavar="L", help="nugpt only (default: none)")
    table.add_argument("--tokens", type=count, metavar="N", help="tokens of the whole training; nugpt only")
    table.add_argument("--base-tokens", type=size, default=0, metavar="N", help="nugpt only (default: none)")
    table.add_argument("--vocab-size", type=size, default=257, metavar="V", help="default: 257, bytes")
    table.add_argument(
        "--lr", type=number, default=OptimConfig().lr, help="at the base width (default: 2^-9)"
    )
    table.set_defaults(action=_table)


def act(options: argparse.Namespace) -> int:
    """Not called: each kind of check sets an action of its own."""
    raise AssertionError("argparse requires a kind")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("method", action=Methods, help="a name (see `ngptlab methods`) or a path")
    parser.add_argument("--param", default="mup", metavar="RULES", help="sp, mup (default) or nugpt")


def _coord(options: argparse.Namespace) -> int:
    from ngptlab import methods
    from ngptlab.param.rules import rules
    from ngptlab.studies.coord.files import title, write_check
    from ngptlab.studies.coord.numbers import LIMIT, judged, worst
    from ngptlab.studies.coord.run import CoordConfig, measure

    base = options.base if options.base is not None else min(options.widths)
    if base not in options.widths:
        raise ConfigError(
            f"--base {base}: not among --widths {' '.join(map(str, options.widths))}; the base is checked like the others"
        )
    param = _param(options.param, base)
    config = _made(
        CoordConfig,
        widths=tuple(options.widths),
        steps=options.steps,
        seeds=options.seeds,
        lr=options.lr,
        d_head=options.head_width,
    )
    parts = methods.load(options.method)
    points = []
    with Line() as line:
        for point in measure(parts, lambda dims: rules(param, dims, tokens=None), config):
            points.append(point)
            if line.due(time.monotonic()):
                line.show(
                    f"width {point.width}, seed {point.seed + 1} of {config.seeds}, step {point.step} of {config.steps}"
                )
    check = judged(
        {
            "method": options.method,
            "param": param.model_dump(),
            "config": config.model_dump(),
            "points": points,
        }
    )
    out = options.out or Path("out") / f"coord-{stem(options.method)}-{param.rules}"
    write_check(check, out)
    say(f"{'slope over width, at its steepest step':40}{'size':16}change")
    steepest = {(slope.kind, slope.quantity): slope for slope in worst(check["slopes"])}
    for kind in dict.fromkeys(slope.kind for slope in check["slopes"]):
        size, change = steepest[kind, "size"], steepest[kind, "change"]
        mark = "" if size.passed and change.passed else "   <- beyond a limit"
        shown = (f"{_shown(slope, config.seeds):16}" for slope in (size, change))
        say(f"  {kind:38}{''.join(shown)}{mark}".rstrip())
    say(
        f"{title(check)} (limit ± {LIMIT}, widths {' '.join(map(str, config.widths))}, {_over(config.seeds)})"
    )
    say(f"Written: {out / 'coord'}.json, .csv, .png, .svg")
    return 0 if check["passed"] else 1


def _over(seeds: int) -> str:
    return f"± 95% over {seeds} seeds, Student's t" if seeds > 1 else "one seed"


def _shown(slope: Any, seeds: int) -> str:
    from ngptlab.stats.estimates import ci95

    if slope.slope is None:
        return f"none    @ {slope.step}"
    half = ci95(slope.stderr, seeds)
    error = "" if half is None else f" ± {half:.2f}"
    return f"{slope.slope:+z.2f}{error}"


def _table(options: argparse.Namespace) -> int:
    from ngptlab import methods
    from ngptlab.optim.table import text
    from ngptlab.param.rules import rules

    if options.head_width < 1 or options.width % options.head_width:
        raise ConfigError(f"--width {options.width} is no multiple of --head-width {options.head_width}")
    dims = _made(
        Dims,
        vocab_size=options.vocab_size,
        num_layers=options.layers,
        num_heads=options.width // options.head_width,
        d_model=options.width,
    )
    param = _param(
        options.param, options.base, base_layers=options.base_layers, base_tokens=options.base_tokens
    )
    if bool(options.tokens) != bool(options.base_tokens):
        raise ConfigError("check: --tokens and --base-tokens go together; give both, or neither")
    model = methods.build_model(options.method, dims, param=param)
    optim = _made(OptimConfig, lr=options.lr, weight_decay=model.parts.weight_decay)
    say(text(model, optim, rules(param, dims, tokens=options.tokens)))
    return 0


def _param(name: str, base: int, **more: int) -> ParamConfig:
    made: ParamConfig = _made(ParamConfig, rules=name, base_width=0 if name == "sp" else base, **more)
    return made


def _made(record: Any, **fields: Any) -> Any:
    try:
        return record(**fields)
    except ValidationError as error:
        raise ConfigError(f"check: {explain(error)}") from None
