"""One run directory, read and written. The unit of truth: reports and evaluations read nothing else. Imports no torch.

    config.json     the resolved RunConfig
    env.json        versions, device, threads, commit, digest of the data
    metrics.jsonl   one line a step, a pure function of the config: {step, tokens, loss_nats, lr, grad_norm}
    timing.jsonl    one line a step, of this machine: {step, step_seconds, data_seconds, flops_per_second, mfu}
    evals.jsonl     {step, eval: "val", ...} and, after the last step, {step, eval: "length", ...}
    scales.jsonl    {step, scales: [...]} at each validation; not there for a method without scales
    checkpoints/    step_000200/ ...
    evals/          val.json, ...: what `ngptlab eval` measured after training
    profile/        trace.json, top.txt, where asked for
    fork.json       {run, hash, step}: the run whose first steps these are, where it began as another's branch
    summary.json    {status: done | stopped | failed, reason, step, ...}

`step` counts finished updates. Times, which are never the same twice, have a file of their own so that `metrics.jsonl` of
an interrupted and resumed run has the same bytes as that of an uninterrupted one. `mfu` is there where the device's peak
is known.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ngptlab import config as configs
from ngptlab import disk, folders
from ngptlab.config import RunConfig
from ngptlab.errors import CheckpointError, ConfigError

STREAMS = ("metrics", "timing", "evals", "scales")
LOCK = ".lock"
STREAM_BYTES = 1 << 30
"""Limit for a stream, which is read as a whole. A step has some 130 bytes in `metrics.jsonl`."""


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a JSON-lines file; a last line torn by a kill is left out."""
    if not path.exists():
        return
    for number, line in enumerate(disk.read_bytes(path, limit=STREAM_BYTES).split(b"\n")[:-1], start=1):
        try:
            yield disk.parse_json(line)
        except ValueError:
            raise CheckpointError(
                f"{path}, line {number}: damaged; remove the run to train it anew"
            ) from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(disk.read_json(path)) if path.exists() else {}
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); remove the run to train it anew") from None


def _unwritable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{error.filename or path}: can't be written ({error.strerror}); mend that, or give another --out"
    )


class Run:
    """A run directory.

    Raises:
        ConfigError: on opening, if the directory holds no readable config.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not (self.path / "config.json").is_file():
            raise ConfigError(
                f"{self.path}: not a run directory (no config.json); give one that `ngptlab train` made"
            )
        self.config: RunConfig = configs.load(self.path / "config.json")

    @classmethod
    def open(cls, path: Path, config: RunConfig) -> Run:
        """The run directory of `config` at `path`, made if it isn't there.

        Raises:
            ConfigError: the directory belongs to a run with other numbers; nothing in it is touched.
            CheckpointError: the directory can't be made or written.
        """
        path = Path(path)
        try:
            if not (path / "config.json").exists():
                path.mkdir(parents=True, exist_ok=True)
                there = [entry for entry in path.iterdir() if not disk.is_temporary(entry)]
                if there and not (path / "config.json").exists():
                    raise ConfigError(
                        f"{path}: neither empty nor a run directory; give a new folder as --out"
                    )
                # Of several first starts, one writes; what it wrote decides what the others are told.
                disk.write_new(path / "config.json", configs.dump(config))
        except OSError as error:
            raise _unwritable(path, error) from None
        run = cls(path)
        if run.config.hash != config.hash:
            changed = "; ".join(configs.differences(run.config, config))
            raise ConfigError(f"{path}: holds another run ({changed}); give another --out, or remove it")
        return run

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for writing, and clear it of what killed writers left half done.

        The kernel lets go of it when the process dies.

        Raises:
            CheckpointError: another process holds it, or it can't be written.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(disk.locked(self.path / LOCK))
                for folder in (self.path, self.path / "checkpoints"):
                    folders.remove_temporaries(folder)
            except BlockingIOError:
                raise CheckpointError(
                    f"{self.path}: another process is training this run; wait for it or stop it"
                ) from None
            except OSError as error:
                raise _unwritable(self.path, error) from None
            yield

    @property
    def summary(self) -> dict[str, Any]:
        """How the run ended; empty while it has not."""
        return _read_json(self.path / "summary.json")

    @property
    def done(self) -> bool:
        """Whether every step and evaluation was finished."""
        return self.summary.get("status") == "done"

    @property
    def env(self) -> dict[str, Any]:
        """Where the run was computed."""
        return _read_json(self.path / "env.json")

    @property
    def trunk(self) -> str | None:
        """Name of the run that this one branched off; None where it did not."""
        run = _read_json(self.path / "fork.json").get("run")
        return None if run is None else str(run)

    def read(self, stream: str) -> list[dict[str, Any]]:
        """All records of one of `STREAMS`."""
        return list(read_lines(self.path / f"{stream}.jsonl"))

    def append(self, stream: str, record: dict[str, Any]) -> None:
        """Add one record; it is in the kernel's hands when this returns, so killing the process loses none."""
        assert stream in STREAMS, stream
        disk.append(self.path / f"{stream}.jsonl", json.dumps(record, allow_nan=False) + "\n")

    def keep_eval(self, name: str, result: dict[str, Any]) -> Path:
        """Write what was measured after training to `evals/<name>.json`, in place of an earlier result."""
        folder = folders.own(self.path / "evals")
        # Held for the moment of writing: evaluations may run side by side.
        with disk.locked(folder / LOCK, wait=True):
            folders.remove_temporaries(folder)
            disk.write_json(folder / f"{name}.json", result)
        return folder / f"{name}.json"

    def sync(self) -> None:
        """Bring what was appended to the disk, so that a power cut loses no line older than a checkpoint."""
        for stream in STREAMS:
            path = self.path / f"{stream}.jsonl"
            if path.exists():
                with path.open("rb") as file:
                    os.fsync(file.fileno())

    def rewind(self, step: int) -> None:
        """Forget what was recorded after `step`, as a resume from that step's checkpoint will record it again."""
        for stream in STREAMS:
            if (self.path / f"{stream}.jsonl").exists():
                self.replace(stream, [record for record in self.read(stream) if record["step"] <= step])

    def replace(self, stream: str, records: Iterable[dict[str, Any]]) -> None:
        """Put these records in place of all that the stream holds."""
        text = "".join(json.dumps(r, allow_nan=False) + "\n" for r in records)
        disk.write_text(self.path / f"{stream}.jsonl", text)

    def finish(self, status: str, **fields: Any) -> None:
        """Write `summary.json`."""
        disk.write_json(self.path / "summary.json", {"status": status, **fields})

    def break_off(self, status: str, **fields: Any) -> None:
        """`finish`, while an exception is under way: it says more than that there is no room for the summary either."""
        with contextlib.suppress(OSError):
            self.finish(status, **fields)
