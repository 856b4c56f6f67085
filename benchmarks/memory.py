"""Peak memory of a training step of every method, each in a fresh process.

    python -m benchmarks.memory [--methods A B] [--sizes gpt2-7m] [--module-file LABEL=PATH ...]

What counts is what a step adds to weights and optimizer state: gradients, activations, logits, buffers. On a CPU that is the
peak of the resident set in one step minus what is resident before it; on CUDA the allocator's own count. A process each,
because an allocator that has once grown tells nothing of the next contestant.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import single_file
from benchmarks.machine import table, write
from benchmarks.sizes import SIZES, Size, add_sizes, check
from benchmarks.steps import Stepper, bench_device, ours
from ngptlab.config import Dims
from ngptlab.device import Device
from ngptlab.errors import LabError
from ngptlab.methods import names

TIMEOUT_S = 600
TINY = Size(Dims(vocab_size=64, num_layers=1, num_heads=1, d_model=16), 2, 16)
"""A step of this first: libraries take memory of their own when they are first used."""


@dataclass(frozen=True)
class Row:
    """One contestant at one size."""

    size: str
    label: str
    peak_bytes: int
    """Of a step, beyond weights and optimizer state."""
    state_bytes: int
    """Weights and optimizer state."""
    logits_bytes: int
    """What all logits at once would take in float32, to compare with."""


def build(label: str, path: str, size: Size, device: Device) -> Stepper:
    """A contestant: a method of ours, or a single-file trainer."""
    return single_file.stepper(label, Path(path), size, device) if path else ours(label, size, device)


def one(label: str, path: str, name: str) -> Row:
    """Measure in this process, which should have done nothing else."""
    size = SIZES[name]
    device = bench_device(cuda=size.cuda, compiled=False)
    build(label, path, TINY, device).step(*TINY.sample(device.place))
    stepper, sample = build(label, path, size, device), size.sample(device.place)
    _make_moments(stepper)
    state = sum(p.nbytes for p in stepper.model.parameters())
    state += sum(v.nbytes for s in stepper.optimizer.state.values() for v in s.values())
    peak = peak_bytes(lambda: stepper.step(*sample), device)
    return Row(name, label, peak, state, 4 * size.tokens * size.dims.vocab_size)


def peak_bytes(work: Callable[[], object], device: Device) -> int:
    """Largest amount of memory in use during `work` beyond what was in use before."""
    if device.place.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    before = _resident("VmRSS")
    _forget_peak()
    work()
    return max(0, _resident("VmHWM") - before)


def _make_moments(stepper: Stepper) -> None:
    """AdamW makes its moments in its first step; they are state, and must not count as a step's own memory."""
    for parameter in stepper.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    stepper.optimizer.step()
    stepper.constraint()
    stepper.optimizer.zero_grad(set_to_none=True)


def _forget_peak() -> None:
    """Linux: set the high-water mark back to what is resident now. Elsewhere the mark covers the whole process."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        print("memory: the high-water mark can't be reset here; peaks are upper bounds", file=sys.stderr)


def _resident(field: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        unit = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def in_fresh_process(label: str, path: str, name: str) -> Row | None:
    """`one` in a process of its own; None, and a line that says why, where it fails."""
    command = [sys.executable, "-m", "benchmarks.memory", "--one", label, path, name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        print(f"{name} {label}: left out, no result in {TIMEOUT_S} s")
        return None
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        print(f"{name} {label}: left out, {last[0]}")
        return None
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="*", default=names())
    add_sizes(parser, ["demo", "bytes", "gpt2-7m"])
    parser.add_argument(
        "--module-file", nargs="+", action="extend", default=[], type=single_file.module_file,
        metavar="LABEL=PATH", help="a single-file trainer",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("out/bench/memory.json"))
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(vars(one(*options.one))))
        return
    try:
        check(options.sizes)
    except LabError as error:
        sys.exit(f"memory: {error}")
    who = [(method, "") for method in options.methods]
    who += [(f"file:{label}", str(path)) for label, path in options.module_file]
    rows = [
        row for name in options.sizes for label, path in who if (row := in_fresh_process(label, path, name))
    ]
    headings = "size", "who", "peak MB", "weights and optimizer MB", "all logits MB"
    cells = [
        (r.size, r.label, *(f"{n / 1e6:.0f}" for n in (r.peak_bytes, r.state_bytes, r.logits_bytes)))
        for r in rows
    ]
    print(table(headings, cells))
    write(options.out, rows)


if __name__ == "__main__":
    main()
