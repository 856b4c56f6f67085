"""Our step against public implementations' in the same shape, interleaved in one process.

    python -m benchmarks.peers [--methods A B] [--peers NAME ...] [--module-file LABEL=PATH ...] [--sizes bytes]

Peers are packages (benchmarks/packages.py) and single-file trainers (benchmarks/single_file.py). One that is not installed or
fails is left out with a line that says so. All use fused AdamW and a gradient clipped to norm 1, and restore the constraint
on their weights where they have one. Ratios are to the first method of ours.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial

from benchmarks import packages, single_file
from benchmarks.sizes import SIZES, Size, check
from benchmarks.step_time import Row, finish, measure, parser
from benchmarks.steps import WARM_UP_STEPS, Stepper, bench_device, ours
from ngptlab.device import Device
from ngptlab.errors import LabError

Make = Callable[[Size, Device], Stepper]


def ready(label: str, make: Make, size: Size, device: Device) -> Stepper:
    """A contestant that has warmed up, which compiles it where it is compiled: some compile in each of their first steps."""
    start = time.monotonic()
    stepper = make(size, device)
    for _ in range(WARM_UP_STEPS):
        stepper.step(*size.sample(device.place))
    print(f"{label}: ready after {time.monotonic() - start:.0f} s", flush=True)
    return stepper


def try_step(label: str, make: Make, size: Size, device: Device) -> Stepper | None:
    """As `ready`, or None and a line that says what is the matter.

    Others' code may fail in any way; none of them may take the whole measurement down.
    """
    try:
        return ready(label, make, size, device)
    except ImportError as error:
        print(f"{label}: left out, not installed ({error})", flush=True)
    except Exception as error:
        print(f"{label}: left out, {type(error).__name__}: {' '.join(str(error).split())[:200]}", flush=True)
    return None


def in_time(label: str, end: float) -> bool:
    """Whether the clock is before `end`; says so if it is not."""
    if time.monotonic() < end:
        return True
    print(f"{label}: left out, its turn came too late for --ready-within", flush=True)
    return False


def main() -> None:
    """Parse, measure, print, write."""
    arguments = parser(__doc__, "out/bench/peers.json")
    arguments.set_defaults(sizes=["bytes"])
    arguments.add_argument("--peers", nargs="*", default=list(packages.PEERS), choices=list(packages.PEERS))
    arguments.add_argument(
        "--module-file", nargs="+", action="extend", default=[], type=single_file.module_file,
        metavar="LABEL=PATH", help="a single-file trainer",
    )  # fmt: skip
    arguments.add_argument(
        "--ready-within", type=float, default=float("inf"), metavar="S",
        help="a public implementation whose turn comes later is left out: compiling some takes minutes",
    )  # fmt: skip
    options = arguments.parse_args()
    end = time.monotonic() + options.ready_within
    rows: list[Row] = []
    try:
        check(options.sizes)
        device = bench_device(cuda=SIZES[options.sizes[0]].cuda, compiled=options.compiled)
        for name in options.sizes:
            size = SIZES[name]
            own = [ready(method, partial(ours, method), size, device) for method in options.methods]
            if device.compile and size.cuda:  # others compile for minutes, and may be cut off
                finish(rows + measure(name, size, own, options.turns, device), device, options.out)
            others = [(label, partial(packages.stepper, label)) for label in options.peers]
            others += [
                (f"file:{label}", partial(single_file.stepper, f"file:{label}", path))
                for label, path in options.module_file
            ]
            tried = [try_step(label, make, size, device) for label, make in others if in_time(label, end)]
            steppers = own + [stepper for stepper in tried if stepper]
            rows += measure(name, size, steppers, options.turns, device)
    except LabError as error:
        sys.exit(f"peers: {error}")
    finish(rows, device, options.out)


if __name__ == "__main__":
    main()
