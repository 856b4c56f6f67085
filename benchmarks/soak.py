"""Hours of one training, watched and reported all along: does memory stay, do files stay few, does a step stay as fast?

    python -m benchmarks.soak [--hours 2] [--out out/bench/soak.json] [--folder DIR]

A small model is trained by the command line with frequent checkpoints and validations. `ngptlab watch` runs beside it on a
pseudo-terminal from the first to the last minute. In turn, `watch --once`, a reading of all records, a report of the run, which
is refused because it is not finished, and a report of a finished one are called again and again. Every ten seconds a sample is
taken from /proc. Neighbours on the machine change the time of a step, its CPU time too, through shared caches. So every few
minutes a fresh training is begun beside the old one. What is judged is whether the ratio of their CPU times in the same moments
changes.

A slope has an interval of 95 %, from the means of blocks of samples, because neighbouring samples are alike. It holds where the
whole interval is within the limit, fails where all of it is beyond, and is undecided otherwise. So noise can't pass for flatness.
`--again FILE` judges the samples in such a file once more.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.machine import table, write
from benchmarks.soak_verdict import judge
from ngptlab.runs import Run
from ngptlab.streams import STREAMS
from ngptlab.tail import Tail
from ngptlab.train.checkpoint import list_checkpoints, read_checkpoint, step_of

SAMPLE_SECONDS = 10.0
READ_SECONDS = 30.0
FRESH_SECONDS = 300.0
"""From the end of a fresh training to the next one."""
FRESH_STEPS = (200, 1000)
"""Between which it is measured: imports and first allocations are over, and both save equally often for each step."""
SETTINGS = {
    "train.steps": 50_000_000,  # never reached
    "train.batch-size": 16,
    "train.context": 64,
    "model.num-layers": 2,
    "model.num-heads": 2,
    "model.d-model": 64,
    "eval.every": 200,
    "eval.val-tokens": 8192,
    "checkpoint.every": 100,
    "device.kind": "cpu",
    "device.threads": 1,
}


@dataclass(frozen=True)
class Sample:
    """What is so at one moment."""

    seconds: float
    """Since the first sample."""
    step: int
    cpu_seconds: float
    """Of the trainer, all its threads, since its start."""
    rss_bytes: int
    anonymous_bytes: int
    """Of those, what no file stands behind."""
    descriptors: int
    threads: int
    files: int
    """In the run's folder, folders not counted."""
    bytes_of_streams: int
    bytes_beside: int
    """Of all other files of the run."""
    watch_rss_bytes: int


class Watching:
    """`ngptlab watch` on a pseudo-terminal, whose output is read and dropped."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        master, terminal = pty.openpty()
        command = [sys.executable, "-m", "ngptlab", "watch", str(folder)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=subprocess.DEVNULL, env=env
        )
        os.close(terminal)
        self.bytes_shown = 0
        threading.Thread(target=self._drain, args=(master,), daemon=True).start()

    def _drain(self, master: int) -> None:
        try:
            while piece := os.read(master, 1 << 16):
                self.bytes_shown += len(piece)
        except OSError:  # what a terminal says when its program has ended
            pass


READ_ALL = """
import sys
from ngptlab.runs import Run
from ngptlab.streams import STREAMS
records = {stream: Run(sys.argv[1]).read(stream) for stream in STREAMS}
assert [record["step"] for record in records["metrics"]] == list(range(1, len(records["metrics"]) + 1))
"""


@dataclass
class Reader:
    """A command that reads the folder, and the code that it must end with."""

    name: str
    arguments: list[str]
    code: int
    ended: int = 0
    wrong: int = 0

    def told(self) -> dict[str, Any]:
        """Without what names folders."""
        return {name: value for name, value in asdict(self).items() if name != "arguments"}


class Readers:
    """Commands in turn, each in a process of its own."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        run, done, out = (str(folder / name) for name in ("runs/soak", "runs/done", "report"))
        self.all = [
            Reader("watch --once", ["-m", "ngptlab", "watch", str(folder / "runs"), "--once"], 0),
            Reader("all records", ["-c", READ_ALL, run], 0),
            Reader("report of it, refused", ["-m", "ngptlab", "report", run, "--out", out], 2),
            Reader("report of a finished run", ["-m", "ngptlab", "report", done, "--out", out], 0),
        ]
        self._env, self._begun, self._number = env, -READ_SECONDS, 0
        self._process: subprocess.Popen[bytes] | None = None

    def tend(self) -> None:
        """Begin the next one where the last has ended and the time for it has come."""
        now, reader = time.monotonic(), self.all[self._number % len(self.all)]
        if self._process is not None:
            if (code := self._process.poll()) is None:
                return
            reader.ended += 1
            reader.wrong += code != reader.code
            self._process, self._number = None, self._number + 1
        elif now - self._begun >= READ_SECONDS:
            self._begun = now
            quiet = subprocess.DEVNULL
            command = [sys.executable, *reader.arguments]
            self._process = subprocess.Popen(command, env=self._env, stdout=quiet, stderr=quiet)


class Fresh:
    """Trainings that are begun beside the old one, one after the other, each for a moment."""

    def __init__(self, run: Path, command: list[str], env: dict[str, str]) -> None:
        self.run = run
        self.process: subprocess.Popen[bytes] | None = None
        self.pairs: list[dict[str, float]] = []
        """Seconds since the first sample, step of the old training, milliseconds of CPU of a step of either."""
        self._command, self._env = [*command, str(run)], env
        self._ended = 0.0
        self._begun: tuple[Sample, int, float] | None = None

    def tend(self, old: Sample) -> None:
        """Begin one, or look how far it has come; `old` is what is so of the old one now."""
        if self.process is None:
            if old.seconds - self._ended >= FRESH_SECONDS:
                quiet = subprocess.DEVNULL
                self.process = subprocess.Popen(self._command, env=self._env, stdout=quiet, stderr=quiet)
                self._steps = Tail(self.run / "metrics.jsonl", last_bytes=4096)
            return
        if (code := self.process.poll()) is not None:
            print(f"soak: a fresh training ended with code {code}", file=sys.stderr)
            return self._end(old.seconds)
        records = self._steps.read()
        step = records[-1]["step"] if records else 0
        cpu = cpu_seconds_of(self.process.pid)
        if self._begun is None:
            if step >= FRESH_STEPS[0]:
                self._begun = (old, step, cpu)
        elif step >= FRESH_STEPS[1]:
            before, first, spent = self._begun
            self.pairs.append(
                {
                    "seconds": old.seconds,
                    "step": old.step,
                    "old_ms": 1e3 * (old.cpu_seconds - before.cpu_seconds) / (old.step - before.step),
                    "fresh_ms": 1e3 * (cpu - spent) / (step - first),
                }
            )
            self._end(old.seconds)

    def _end(self, seconds: float) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.run, ignore_errors=True)
        self.process, self._begun, self._ended = None, None, seconds


def status_of(pid: int) -> dict[str, int]:
    """Some numbers of /proc/PID/status, memory in bytes."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon"):
            found[name] = int(value.split()[0]) * 1024
        elif name == "Threads":
            found[name] = int(value)
    return found


def cpu_seconds_of(pid: int) -> float:
    """User and system time of all threads of a process."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def sizes_of(folder: Path) -> dict[str, int]:
    """Bytes of each file; one that goes meanwhile is left out."""
    found = {}
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                found[str(path.relative_to(folder))] = path.stat().st_size
        except OSError:
            continue
    return found


def take(pid: int, watch: int, run: Path, steps: Tail, before: int, start: float) -> Sample:
    """One sample."""
    records = steps.read()
    sizes, status = sizes_of(run), status_of(pid)
    streams = {f"{stream}.jsonl" for stream in STREAMS}
    return Sample(
        seconds=round(time.monotonic() - start, 3),
        step=records[-1]["step"] if records else before,
        cpu_seconds=cpu_seconds_of(pid),
        rss_bytes=status["VmRSS"],
        anonymous_bytes=status["RssAnon"],
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        threads=status["Threads"],
        files=len(sizes),
        bytes_of_streams=sum(size for name, size in sizes.items() if name in streams),
        bytes_beside=sum(size for name, size in sizes.items() if name not in streams),
        watch_rss_bytes=status_of(watch)["VmRSS"],
    )


def soak(hours: float, folder: Path) -> tuple[list[Sample], dict[str, Any]]:
    """Train, read and sample for so many hours, then stop by SIGTERM."""
    run = folder / "runs" / "soak"
    folder.mkdir(parents=True, exist_ok=True)
    env = os.environ | {"OMP_NUM_THREADS": "1", "NGPTLAB_CACHE": str(folder / "cache"), "COLUMNS": "150"}
    options = [part for name, value in SETTINGS.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "ngptlab", "train", "demo", *options, "--out"]
    quiet = subprocess.DEVNULL
    finished = [*command, str(folder / "runs" / "done"), "--train.steps", "50"]
    subprocess.run(finished, env=env, check=True, stdout=quiet, stderr=quiet)
    with (folder / "train.log").open("ab") as log:
        trainer = subprocess.Popen([*command, str(run)], env=env, stdout=log, stderr=log)
    samples: list[Sample] = []
    watching = None
    try:
        while not (run / "metrics.jsonl").exists():
            if trainer.poll() is not None:
                sys.exit(
                    f"soak: the training ended with code {trainer.returncode}; see {folder / 'train.log'}"
                )
            time.sleep(0.2)
        watching = Watching(folder / "runs", dict(env))
        readers, fresh = Readers(folder, dict(env)), Fresh(folder / "fresh", [*command], dict(env))
        steps = Tail(run / "metrics.jsonl", last_bytes=4096)
        start, taken = time.monotonic(), 0
        while time.monotonic() - start < hours * 3600 and trainer.poll() is None:
            readers.tend()
            before = samples[-1].step if samples else 0
            samples.append(take(trainer.pid, watching.process.pid, run, steps, before, start))
            fresh.tend(samples[-1])
            taken += 1
            with (folder / "samples.jsonl").open(
                "a"
            ) as file:  # what is known, should the soak itself be killed
                file.write(json.dumps(asdict(samples[-1])) + "\n")
            time.sleep(max(0.0, start + taken * SAMPLE_SECONDS - time.monotonic()))
        trainer.send_signal(signal.SIGTERM)
        code = trainer.wait(120)
    finally:
        for process in [trainer, *([watching.process, fresh.process] if watching else [])]:
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
    newest = list_checkpoints(run / "checkpoints")[-1]
    read_checkpoint(newest)  # raises where it is not whole
    end = {"code": code, "step": Run(run).read("metrics")[-1]["step"], "checkpoint": step_of(newest)}
    shown = {"bytes": watching.bytes_shown}
    return samples, {
        "end": end,
        "watch": shown,
        "readers": [reader.told() for reader in readers.all],
        "fresh": fresh.pairs,
    }


def main() -> None:
    """Parse, soak, judge, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument(
        "--folder", type=Path, default=Path("out/bench/soak"), help="of the run and the pages; new"
    )
    parser.add_argument("--out", type=Path, default=Path("out/bench/soak.json"))
    parser.add_argument("--again", type=Path, help="judge the samples of such a JSON, and train nothing")
    options = parser.parse_args()
    if options.again:
        known = json.loads(options.again.read_text())
        facts = {name: known.get(name, []) for name in ("end", "watch", "readers", "fresh")}
        conclude(options.out, known["samples"], known["hours"], facts)
    if options.folder.exists():
        sys.exit(f"soak: {options.folder} is there already; give another --folder")
    samples, facts = soak(options.hours, options.folder)
    columns = {f.name: [getattr(sample, f.name) for sample in samples] for f in fields(Sample)}
    hours = {"asked": options.hours, "sampled": round(samples[-1].seconds / 3600, 4)}
    conclude(options.out, columns, hours, facts)


def conclude(
    out: Path, columns: dict[str, list[float]], hours: dict[str, float], facts: dict[str, Any]
) -> None:
    """Judge, print, write; the exit code is 1 where something fails."""
    judged = judge(columns, facts)
    rows = [(each.what, each.found, each.limit, each.verdict) for each in judged]
    print(table(("what", "found", "limit", "verdict"), rows))
    write(out, judged, hours=hours, settings=SETTINGS, **facts, samples=columns)
    sys.exit(any(each.verdict == "fails" for each in judged))


if __name__ == "__main__":
    main()
