"""Everything that needs a GPU in one command, in under nine minutes: `make gpu`, or `python -m benchmarks.gpu`.

The tests marked `gpu`; ten models of width 64 as one program against one after the other, in small steps; step time at 162M
parameters, compiled, beside whatever public implementations are there; peak memory; step time eagerly; the ten models in
large steps. The most important comes first, each writes its JSON before the next begins, and what does not fit is named. Needs
no network once the environment stands. Without CUDA it says so and succeeds: there is nothing to find fault with.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import torch

from ngptlab.recipes import recipe

BUDGET_S = 520
"""For all of it. What does not fit is cut off, and said to be."""

READY_S = 270
"""Compiling a model of this size takes 30 to 120 s. A public implementation whose turn comes later than this is left out."""

NO_TESTS = 5
"""pytest's exit code where no test was selected."""


def stages(
    methods: list[str], peers: list[str], module_files: list[str], out: str
) -> list[tuple[str, list[str]]]:
    """Title and module with its arguments, the most important first."""
    files = ["--module-file", *module_files] if module_files else []
    chosen = ["--sizes", "162m", "--methods", *methods]
    small = ["benchmarks.stacked", "--compiled", "--widths", "64", "--models", "10", "--recipe"]
    return [
        # Compiling takes most of their time. What torch itself warns of meanwhile is not what they test.
        ("tests marked gpu", ["pytest", "-q", "-m", "gpu", "-n", "4", "-W", "default"]),
        ("many small models as one", [*small, "mup-bytes-small", "--out", f"{out}/gpu_stacked_small.json"]),
        (
            "step time, compiled",
            ["benchmarks.peers", *chosen, "--compiled", "--peers", *peers, *files, "--ready-within", str(READY_S),
             "--out", f"{out}/gpu_compiled.json"],
        ),
        ("peak memory", ["benchmarks.memory", *chosen, *files, "--out", f"{out}/gpu_memory.json"]),
        ("step time, eager", ["benchmarks.step_time", *chosen, "--out", f"{out}/gpu_eager.json"]),
        ("many small models as one, large steps", [*small, "mup-bytes", "--out", f"{out}/gpu_stacked.json"]),
    ]  # fmt: skip


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
    parser.add_argument(
        "--methods", nargs="+", default=list(recipe("demo").methods), help="the first is what ratios are to"
    )
    parser.add_argument(
        "--peers", nargs="*", default=[], help="packages to compare with, of benchmarks.peers"
    )
    parser.add_argument(
        "--module-file", nargs="+", default=[], metavar="LABEL=PATH", help="single-file trainers"
    )
    parser.add_argument("--out", default="out/bench", metavar="DIR")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu: torch sees no CUDA device, so there is nothing to run here (see docs/benchmarks.md)")
        return
    end = time.monotonic() + BUDGET_S
    planned = stages(options.methods, options.peers, options.module_file, options.out)
    well = [run(title, arguments, end - time.monotonic()) for title, arguments in planned]
    sys.exit(0 if all(well) else 1)


if __name__ == "__main__":
    main()
