"""One run directory, read and written. The unit of truth: reports and evaluations read nothing else. Imports no torch.

    config.json     the resolved RunConfig
    methods/        my_idea@<digest>.py, ...: copies of methods that are no files of this package (`method_files`)
    env.json        versions, device, threads, commit, digest of the data; `processes` where there were several,
                    `runs_at_once` where a study trained several runs side by side, "not known" where a cluster did
    metrics.jsonl   one line a step, a pure function of the config: {step, tokens, loss_nats, lr, grad_norm}
    timing.jsonl    one line a step, of this machine: {step, step_seconds, data_seconds, flops_per_second, mfu}
    evals.jsonl     {step, eval: "val", ...} and, after the last step, {step, eval: "length", ...}
    scales.jsonl    {step, scales: [...]} at each validation; not there for a method without scales
    skipped.jsonl   {step, kind, why, sequences: [from, to]} for each batch that made no update; seldom there
    non_finite/     what is kept to look at where a run ended at a loss or gradient that is not finite
    checkpoints/    step_000200/ ...
    evals/          val.json, ...: what `ngptlab eval` measured after training
    profile/        trace.json, top.txt, where asked for
    fork.json       {run, hash, step}: the run whose first steps these are, where it began as another's branch
    summary.json    {status: done | stopped | failed, reason, step, ...}; for a finished run also {config_hash, streams}, which
                    say what else is in the directory: {metrics: {bytes, sha256}, ...}

`step` counts finished updates. Times, which are never the same twice, have a file of their own so that `metrics.jsonl` of
an interrupted and resumed run has the same bytes as that of an uninterrupted one. `mfu` is there where the device's peak
is known.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from ngptlab import config as configs
from ngptlab import disk, folders
from ngptlab.config import RunConfig
from ngptlab.errors import CheckpointError, ConfigError, DivergedError, LabError
from ngptlab.frames import frame
from ngptlab.method_files import copies, stages
from ngptlab.streams import ALL_STREAMS, FIELDS, STREAMS, record_of

if TYPE_CHECKING:
    import pandas

    from ngptlab.draw.panels import Figure

LOCK = ".lock"
STREAM_BYTES = 1 << 30
"""Limit for a stream, which is read as a whole. A step has some 130 bytes in `metrics.jsonl`."""


ANEW = "remove the run to train it anew"
End = Literal["done", "diverged", "failed", "stopped"]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended. Read here only, so that a run is to everybody what it is to one."""

    status: End | None
    """None: it has not ended. It waits, is under way, or was killed."""
    reason: str = ""
    """Why it is not done; of one that is, what makes it doubtful."""
    step: int | None = None
    """Finished updates, where that is told."""

    @property
    def done(self) -> bool:
        """Whether every step and evaluation was finished."""
        return self.status == "done"

    @property
    def over(self) -> bool:
        """Whether nothing is left to train: done, or diverged, which is a result too."""
        return self.status in ("done", "diverged")


def ending_of(summary: Mapping[str, Any]) -> Ending:
    """What a `summary.json` says of its run's end; one that is missing, damaged or of a later version says nothing."""
    status, step = summary.get("status"), summary.get("step")
    if status == "failed" and summary.get("error") == DivergedError.__name__:
        status = "diverged"
    return Ending(
        status=cast(End, status) if status in get_args(End) else None,
        reason=str(summary.get("warning" if status == "done" else "reason") or ""),
        step=step if isinstance(step, int) else None,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = disk.read_json(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror}); mend that, or {ANEW}") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged ({error}); {ANEW}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: damaged (holds {type(value).__name__}, not an object); {ANEW}")
    return value


def _unwritable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{error.filename or path}: can't be written ({error.strerror}); mend that, or give another --out"
    )


class Run:
    """A run directory.

    Raises:
        ConfigError: on opening, if the directory holds no readable config, or a method's copy that is not the one it names.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not (self.path / "config.json").is_file():
            raise ConfigError(
                f"{self.path}: not a run directory (no config.json); give one that `ngptlab train` made"
            )
        self.config: RunConfig = copies.load_config(self.path / "config.json")
        self._written: dict[str, _Written] = {}

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
                folders.make(path)
                there = [entry for entry in path.iterdir() if not disk.is_temporary(entry)]
                if there and not (path / "config.json").exists():
                    raise ConfigError(
                        f"{path}: neither empty nor a run directory; give a new folder as --out"
                    )
                # Where several processes begin the run at once, one writes. What it wrote decides what the others are told.
                disk.write_new(path / "config.json", configs.dump(config))
        except OSError as error:
            raise _unwritable(path, error) from None
        run = cls(path)
        if run.config.hash != config.hash:
            changed = "; ".join(configs.differences(run.config, config))
            raise ConfigError(f"{path}: holds another run ({changed}); give another --out, or remove it")
        try:
            copies.keep(path, run.config)
        except OSError as error:
            raise _unwritable(path, error) from None
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
        """What was written when the run ended; empty while it has not."""
        return _read_json(self.path / "summary.json")

    @property
    def ending(self) -> Ending:
        """How the run ended."""
        return ending_of(self.summary)

    @property
    def done(self) -> bool:
        """Whether every step and evaluation was finished."""
        return self.ending.done

    @property
    def env(self) -> dict[str, Any]:
        """Where the run was computed."""
        return _read_json(self.path / "env.json")

    @property
    def trunk(self) -> str | None:
        """Name of the run that this one branched off; None where it did not."""
        run = self.fork.get("run")
        return None if run is None else str(run)

    @property
    def fork(self) -> dict[str, Any]:
        """Where it branched off another run; empty where it did not."""
        return _read_json(self.path / "fork.json")

    @property
    def has_own_stages(self) -> bool:
        """Whether its stages of the batch are those of its method."""
        return stages.has_own_stages(self.config)

    def path_of(self, stream: str) -> Path:
        """The file of one of `ALL_STREAMS`."""
        assert stream in ALL_STREAMS, stream
        return self.path / f"{stream}.jsonl"

    def content(self, stream: str) -> bytes:
        """All bytes of one of `ALL_STREAMS`; none where the file is missing."""
        path = self.path_of(stream)
        return disk.read_bytes(path, limit=STREAM_BYTES, longest=disk.RECORD_BYTES) if path.exists() else b""

    def read(self, stream: str) -> list[dict[str, Any]]:
        """All records of one of `ALL_STREAMS`; a last line torn by a kill is left out.

        Raises:
            CheckpointError: a line is no record of that stream.
        """
        records = []
        for number, line in enumerate(disk.lines_of(self.content(stream)), start=1):
            try:
                records.append(record_of(line, FIELDS[stream]))
            except ValueError as error:
                raise CheckpointError(
                    f"{self.path_of(stream)}, line {number}: damaged ({error}); {ANEW}"
                ) from None
        return records

    def metrics(self) -> pandas.DataFrame:
        """A row a step, as a frame of pandas (the extra `pandas`): what `metrics.jsonl` and `timing.jsonl` hold.

        Raises:
            ConfigError: pandas is not installed.
            CheckpointError: a line is damaged.
        """
        times = {record["step"]: record for record in self.read("timing")}
        return frame({**times.get(record["step"], {}), **record} for record in self.read("metrics"))

    def evals(self, name: str = "val") -> pandas.DataFrame:
        """A row each validation, as a frame of pandas; `name`: another evaluation of `evals.jsonl`, as `length`.

        Raises:
            ConfigError: pandas is not installed.
            CheckpointError: a line is damaged.
        """
        return frame(record for record in self.read("evals") if record["eval"] == name)

    def plot(self) -> Figure:
        """Training and validation loss over steps, as a figure of matplotlib, which a notebook shows.

        Raises:
            CheckpointError: a line is damaged.
        """
        from ngptlab.draw.losses import losses  # late: brings matplotlib

        val = [record for record in self.read("evals") if record["eval"] == "val"]
        return losses(self.config.run_name, self.read("metrics"), val)

    def append(self, stream: str, record: dict[str, Any]) -> None:
        """Add one record; it is in the kernel's hands when this returns, so killing the process loses none."""
        written, text = self._written_to(stream), json.dumps(record, allow_nan=False) + "\n"
        disk.append(self.path_of(stream), text)
        written.add(text.encode("utf-8"))

    def digests(self) -> dict[str, dict[str, Any]]:
        """Size and SHA-256 of every stream as it was written, {metrics: {bytes, sha256}, ...}; of `SKIPPED` where it is there.

        They are kept while lines are appended, so they cost the same however long the run is.
        """
        there = [stream for stream in ALL_STREAMS if stream in STREAMS or self.path_of(stream).exists()]
        return {stream: self._written_to(stream).digest() for stream in there}

    def _written_to(self, stream: str) -> _Written:
        if stream not in self._written:
            self._written[stream] = _Written()
            self._written[stream].add(self.content(stream))
        return self._written[stream]

    def keep_eval(self, name: str, result: Mapping[str, Any]) -> Path:
        """Write what was measured after training to `evals/<name>.json`, in place of an earlier result."""
        folder = folders.own(self.path / "evals")
        # Held for the moment of writing: evaluations may run side by side.
        with disk.locked(folder / LOCK, wait=True):
            folders.remove_temporaries(folder)
            disk.write_json(folder / f"{name}.json", result)
        return folder / f"{name}.json"

    def sync(self) -> None:
        """Bring what was appended, and the files' names, to the disk: a power cut then loses no line older than a checkpoint."""
        for stream in ALL_STREAMS:
            path = self.path_of(stream)
            if path.exists():
                with disk.open_regular(path) as file:
                    disk.sync(file)
        disk.fsync_folder(self.path)

    def rewind(self, sizes: Mapping[str, int]) -> None:
        """Forget what was recorded beyond these bytes of each stream, as a resumed run will record it again.

        Streams that are not named, or keep nothing, are removed: an uninterrupted run would not have them either.
        """
        for stream in ALL_STREAMS:
            path, size = self.path_of(stream), sizes.get(stream, 0)
            self._written.pop(stream, None)
            if not size:
                path.unlink(missing_ok=True)
            elif path.stat().st_size != size:
                disk.truncate(path, size)

    def replace(self, stream: str, records: Iterable[dict[str, Any]]) -> None:
        """Put these records in place of all that the stream holds."""
        text = "".join(json.dumps(r, allow_nan=False) + "\n" for r in records)
        self._written.pop(stream, None)
        disk.write_text(self.path_of(stream), text)

    def finish(self, status: str, **fields: Any) -> None:
        """Write `summary.json`; for a finished run it also tells what its config and its streams are."""
        if status == "done":
            self.sync()  # before the summary says what is in the streams
            fields |= {"config_hash": self.config.hash, "streams": self.digests()}
        disk.write_json(self.path / "summary.json", {"status": status, **fields})

    def stop(self, reason: str, step: int) -> None:
        """Record that the run was stopped after it was saved, and is to go on."""
        self._break_off("stopped", reason=reason, step=step)

    def fail(self, error: LabError) -> None:
        """Record what ended the run."""
        self._break_off("failed", error=type(error).__name__, reason=str(error))

    def _break_off(self, status: str, **fields: Any) -> None:
        """`finish` while an exception is under way. That says more than an error of writing the summary, which is dropped."""
        with contextlib.suppress(OSError):
            self.finish(status, **fields)


class _Written:
    """Digest of all that was written to a stream so far."""

    def __init__(self) -> None:
        self._size, self._sha256 = 0, hashlib.sha256()

    def add(self, content: bytes) -> None:
        self._size += len(content)
        self._sha256.update(content)

    def digest(self) -> dict[str, Any]:
        return {"bytes": self._size, "sha256": self._sha256.hexdigest()}
