"""Everything that needs a GPU in one command, in under nine minutes: `make gpu`, or `python -m benchmarks.gpu`.

The tests marked `gpu`, then step time (eager, compiled) and peak memory at 162M parameters, and ten models of width 64 as
one program against one after the other. Needs no network once the environment stands. Without CUDA it says so and succeeds:
there is nothing to find fault with.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import torch

from ngptlab.methods import names

BUDGET_S = 520
"""For all of it. What does not fit is cut off, and said to be."""

NO_TESTS = 5
"""pytest's exit code where no test was selected."""


def stages(methods: list[str]) -> list[tuple[str, list[str]]]:
    """Title and module with its arguments, the most important first."""
    chosen, step = ["--sizes", "162m", "--methods", *methods], "benchmarks.step_time"
    small = ["benchmarks.stacked", "--recipe", "mup-bytes", "--widths", "64", "--models", "10"]
    return [
        # Compiling takes most of their time. What torch itself warns of meanwhile is not what they test.
        ("tests marked gpu", ["pytest", "-q", "-m", "gpu", "-n", "4", "-W", "default"]),
        ("step time, eager", [step, *chosen, "--out", "out/bench/gpu_eager.json"]),
        ("step time, compiled", [step, *chosen, "--compiled", "--out", "out/bench/gpu_compiled.json"]),
        ("many small models as one, eager", [*small, "--out", "out/bench/gpu_stacked.json"]),
        ("peak memory", ["benchmarks.memory", *chosen, "--out", "out/bench/gpu_memory.json"]),
        (
            "many small models as one, compiled",
            [*small, "--compiled", "--out", "out/bench/gpu_stacked_compiled.json"],
        ),
    ]


def run(title: str, arguments: list[str], seconds: float) -> bool:
    """One stage in a process of its own; whether it went well."""
    print(f"== {title}", flush=True)
    if seconds <= 0:
        print(f"{title}: left out, the {BUDGET_S} s are used up")
        return False
    try:
        code = subprocess.run([sys.executable, "-m", *arguments], timeout=seconds).returncode
    except subprocess.TimeoutExpired:
        print(f"{title}: cut off, the {BUDGET_S} s are used up")
        return False
    if code == NO_TESTS and arguments[0] == "pytest":
        print("no test is marked gpu")
        return True
    return code == 0


def main() -> None:
    """Run the stages one after the other, each whatever became of the one before."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=names(), help="the first is what ratios are to")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu: torch sees no CUDA device, so there is nothing to run here (see docs/benchmarks.md)")
        return
    end = time.monotonic() + BUDGET_S
    well = [run(title, arguments, end - time.monotonic()) for title, arguments in stages(options.methods)]
    sys.exit(0 if all(well) else 1)


if __name__ == "__main__":
    main()
