"""Whether a run's records are whole: every step, every validation that was due, the very bytes that were written. No torch.

A checkpoint's manifest and the summary of a finished run hold the digest of each stream. Directories from before that have
none, so they are held against their config alone: steps without a gap, validations at every `eval.every`.
(`eval.at` may change between two starts of a run, so what it added can be told from the digests alone.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ngptlab import disk
from ngptlab.config import RunConfig
from ngptlab.config.due import validation_due
from ngptlab.errors import CheckpointError
from ngptlab.runs import ANEW, Run, ending_of
from ngptlab.streams import ALL_STREAMS, FIELDS, NUMBER, SKIPPED, check_fields, record_of

VALIDATION = {"loss_nats": NUMBER, "stderr_nats": NUMBER, "bits_per_byte": NUMBER}
"""What a validation in `evals.jsonl` holds besides."""

NOTHING = {"bytes": 0, "sha256": hashlib.sha256().hexdigest()}

Lines = list[tuple[dict[str, Any], int]]
"""Records, each with the number of bytes up to its end."""


def sizes_up_to(run: Run, step: int, digests: object, *, scales: bool | None) -> dict[str, int]:
    """Bytes of each stream that a run going on from `step` keeps; what follows is of later steps.

    Args:
        digests: `Run.digests` when `step` was saved; None where that was not kept.
        scales: whether the method has scales, which are recorded at each validation; None: not known here.

    Raises:
        CheckpointError: records up to `step` are missing or changed. The message says where, and leaves what to do to the caller.
    """
    kept = {stream: _content(run, stream) for stream in ALL_STREAMS}
    if digests is not None:
        sizes = {stream: _digest(run, digests, stream)[0] for stream in ALL_STREAMS}
        kept = {stream: content[: sizes[stream]] for stream, content in kept.items()}
    lines = {stream: _lines(run, stream, kept[stream]) for stream in ALL_STREAMS}
    if digests is None:
        lines = {stream: _until(step, held) for stream, held in lines.items()}
    else:  # first, because the steps of other streams are held against it
        _hold_against(run, digests, SKIPPED, kept[SKIPPED])
    _check(run, lines, step, timed=True, scales=scales)
    if digests is not None:
        for stream in ALL_STREAMS:
            _hold_against(run, digests, stream, kept[stream])
    return {stream: held[-1][1] if held else 0 for stream, held in lines.items()}


def check_finished(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Hold a run that says it is done against what it says of itself, and return its records by stream, which were read for that.

    Nothing is asked of any other run, and nothing is returned.

    Raises:
        CheckpointError: its settings or records are not those that it was trained with, or are incomplete; in a line that
            names the file.
    """
    summary = run.summary
    if not ending_of(summary).done:
        return {}
    try:
        _check_config(run, summary["config_hash"] if "config_hash" in summary else _hash_of_checkpoint(run))
        return _check_records(run, summary)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; restore it, or {ANEW}") from None


def glance(run: Run, summary: Mapping[str, Any]) -> str:
    """What settings and sizes alone say of a finished run's damage, in words; empty where they say nothing. Reads no stream."""
    try:
        _check_config(run, summary.get("config_hash"))
        if (digests := summary.get("streams")) is not None:
            for stream in ALL_STREAMS:
                path = run.path_of(stream)
                _hold_size(run, digests, stream, path.stat().st_size if path.exists() else 0)
    except (CheckpointError, OSError) as error:
        return str(error)
    return ""


def _check_config(run: Run, trained_with: object) -> None:
    """Hold the settings against the hash of those that the run was trained with; None: not known."""
    if trained_with not in (None, run.config.hash):
        raise CheckpointError(
            f"{run.path / 'config.json'}: changed (the run was trained with settings of the hash {trained_with}, these have "
            f"{run.config.hash})"
        )


def _check_records(run: Run, summary: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    kept = {stream: _content(run, stream) for stream in ALL_STREAMS}
    for stream, content in kept.items():
        if content and not content.endswith(b"\n"):
            raise _damaged(run, f"{stream}.jsonl", "its last line is cut off")
    lines = {stream: _lines(run, stream, content) for stream, content in kept.items()}
    digests = summary.get("streams")
    if digests is not None:  # first, because the steps of other streams are held against it
        _hold_against(run, digests, SKIPPED, kept[SKIPPED])
    # Weights from elsewhere may come without the records of their training.
    if "imported_from" not in summary:
        last = run.config.train.steps
        if summary.get("step") != last:
            raise _damaged(run, "summary.json", f"done at step {summary.get('step')} of {last}")
        if not isinstance(run.env.get("data_digest"), str):
            raise _damaged(run, "env.json", "no data_digest")
        # A report says so where times are missing; only a digest can tell that they were there.
        _check(run, lines, last, timed=False, scales=None)
    if digests is not None:
        for stream, content in kept.items():
            _hold_against(run, digests, stream, content)
    return _records(lines)


def _records(lines: Mapping[str, Lines]) -> dict[str, list[dict[str, Any]]]:
    return {stream: [record for record, _ in held] for stream, held in lines.items()}


def _content(run: Run, stream: str) -> bytes:
    try:
        return run.content(stream)
    except OSError as error:
        raise CheckpointError(f"{run.path_of(stream)}: can't be read ({error.strerror})") from None


def _lines(run: Run, stream: str, content: bytes) -> Lines:
    """Whole lines; without a newline the last one is left out, as a kill may tear it."""
    lines: Lines = []
    end = 0
    for number, line in enumerate(disk.lines_of(content), start=1):
        end += len(line) + 1
        try:
            lines.append((record_of(line, FIELDS[stream]), end))
        except ValueError as error:
            raise _damaged(run, f"{stream}.jsonl", f"{error}", line=number) from None
    return lines


def _until(step: int, lines: Lines) -> Lines:
    """Lines before the first of a later step."""
    later = (number for number, (record, _) in enumerate(lines) if record["step"] > step)
    return lines[: next(later, len(lines))]


def _check(run: Run, lines: Mapping[str, Lines], last: int, *, timed: bool, scales: bool | None) -> None:
    records = _records(lines)
    _check_skipped(run, records[SKIPPED], last)
    # A spike was measured, what is not finite has no number, and of what was left out otherwise none is kept.
    unmeasured = {record["step"] for record in records[SKIPPED] if record["kind"] != "spike"}
    _check_steps(run, "metrics", records["metrics"], last, unmeasured)
    if timed:
        _check_steps(run, "timing", records["timing"], last)
    measured = _check_validations(run, records["evals"], last)
    if scales or (scales is None and records["scales"]):
        _check_scales(run, [record["step"] for record in records["scales"]], measured)


def _check_steps(
    run: Run, stream: str, records: Sequence[Mapping[str, Any]], last: int, without: Collection[int] = ()
) -> None:
    """Steps 1 to `last` but those `without` a record, each once and in order."""
    name, tokens_before = f"{stream}.jsonl", run.config.train.tokens_before
    steps = (step for step in range(1, last + 1) if step not in without)
    for number, record in enumerate(records, start=1):
        step = next(steps, None)
        if step is None or record["step"] != step:
            belongs = "the records end" if step is None else f"{step} belongs"
            raise _damaged(run, name, f"step {record['step']} where {belongs}", line=number)
        if record.get("tokens", tokens_before(step)) != tokens_before(step):
            raise _damaged(
                run,
                name,
                f"{record['tokens']} tokens where the config says {tokens_before(step)}",
                line=number,
            )
    if (missing := next(steps, None)) is not None:
        raise _damaged(run, name, f"it ends after {missing - 1} steps, not {last}")


def _check_skipped(run: Run, records: Sequence[Mapping[str, Any]], last: int) -> None:
    """Steps in order, each once."""
    before = 0
    for number, record in enumerate(records, start=1):
        if not before < record["step"] <= last:
            raise _damaged(
                run, f"{SKIPPED}.jsonl", f"step {record['step']} after {before} of {last}", line=number
            )
        before = record["step"]


def _check_validations(run: Run, records: Sequence[Mapping[str, Any]], last: int) -> list[int]:
    """Every validation due up to `last`, in order; the length evaluation after them, at most once. The steps measured."""
    name = "evals.jsonl"
    measured: list[int] = []
    for number, record in enumerate(records, start=1):
        step = record["step"]
        if step > last:
            raise _damaged(run, name, f"step {step} where the records end at {last}", line=number)
        if record["eval"] != "val":
            continue
        if measured and step <= measured[-1]:
            raise _damaged(run, name, f"validation of step {step} after that of {measured[-1]}", line=number)
        try:
            check_fields(record, VALIDATION)
        except ValueError as error:
            raise _damaged(run, name, f"{error}", line=number) from None
        measured.append(step)
    config = _without_marks(run.config)
    due = [step for step in range(last + 1) if validation_due(config, step)]
    if missing := sorted(set(due) - set(measured)):
        raise _damaged(run, name, f"no validation of step {missing[0]}")
    if sum(record["eval"] == "length" for record in records) > 1:
        raise _damaged(run, name, "two length evaluations")
    return measured


def _check_scales(run: Run, recorded: Sequence[int], measured: Sequence[int]) -> None:
    for step in sorted({*recorded, *measured}):
        if recorded.count(step) != measured.count(step):
            raise _damaged(
                run,
                "scales.jsonl",
                f"{recorded.count(step)} lines of step {step}, not {measured.count(step)}",
            )
    if list(recorded) != list(measured):
        raise _damaged(run, "scales.jsonl", "its steps are not in order")


def _without_marks(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"eval": config.eval.model_copy(update={"at": ()})})


def _digest(run: Run, digests: object, stream: str) -> tuple[int, str]:
    """Bytes and SHA-256 of a stream among `digests`."""
    facts = digests.get(stream, NOTHING if stream == SKIPPED else None) if isinstance(digests, dict) else None
    size, sha256 = (facts.get("bytes"), facts.get("sha256")) if isinstance(facts, dict) else (None, None)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0 or not isinstance(sha256, str):
        raise CheckpointError(f"{run.path}: damaged (no digest of {stream}.jsonl among those kept)")
    return size, sha256


def _hold_against(run: Run, digests: object, stream: str, content: bytes) -> None:
    """Compare all of `content` with what was written."""
    sha256 = _hold_size(run, digests, stream, len(content))
    if hashlib.sha256(content).hexdigest() != sha256:
        raise _damaged(run, f"{stream}.jsonl", "not what was written; its sha256 differs")


def _hold_size(run: Run, digests: object, stream: str, size: int) -> str:
    """Compare a stream's size with what was written; gives the SHA-256 of that."""
    written, sha256 = _digest(run, digests, stream)
    if size != written:
        raise _damaged(run, f"{stream}.jsonl", f"it has {size} bytes, {written} were written")
    return sha256


def _hash_of_checkpoint(run: Run) -> str | None:
    """The config's hash in the newest manifest that can be read; older summaries have none of their own."""
    for path in sorted((run.path / "checkpoints").glob("step_*/manifest.json"), reverse=True):
        try:
            found = disk.read_json(path)["config_hash"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(found, str):
            return found
    return None


def _damaged(run: Run, name: str, what: str, *, line: int | None = None) -> CheckpointError:
    where = "" if line is None else f", line {line}"
    return CheckpointError(f"{run.path / name}{where}: damaged ({what})")
