"""Finished run directories as frozen records, with each row checked. A run that is not whole is refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Self, TypeVar

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError, model_validator
from typing_extensions import TypedDict

from ngptlab.config import Frozen, RunConfig, explain
from ngptlab.config.method_name import arm
from ngptlab.errors import CheckpointError, ConfigError, DataError
from ngptlab.flops import token_flops
from ngptlab.runs import Ending, Run, ending_of
from ngptlab.stats import series
from ngptlab.stats.search import Search, find
from ngptlab.streams import SKIPPED
from ngptlab.terminal import printable
from ngptlab.whole import check_finished


class Row(Frozen):
    """Base of a recorded row. Numbers are finite, and fields that a later evaluation adds are ignored."""

    model_config = ConfigDict(extra="ignore")

    step: int = Field(ge=0)
    """Finished optimizer steps."""


class TrainRow(Row):
    """A line of metrics.jsonl."""

    loss_nats: float
    lr: float | None = None
    """Learning rate of the step; None where a run did not record it."""
    grad_norm: float | None = None
    """Norm of the gradient before it was clipped; None where a run did not record it."""


class TimingRow(Row):
    """A line of timing.jsonl."""

    step_seconds: float = Field(ge=0)


class ValRow(Row):
    """A validation in evals.jsonl."""

    loss_nats: float
    stderr_nats: float = Field(ge=0)
    bits_per_byte: float


LengthBin = TypedDict(
    "LengthBin",
    {
        "from": Annotated[int, Field(ge=0)],
        "to": Annotated[int, Field(gt=0)],
        "loss_nats": FiniteFloat,
        "stderr_nats": NotRequired[Annotated[FiniteFloat, Field(ge=0)] | None],
    },
)
"""Mean loss over positions `from` <= t < `to` of long documents; the standard error is over the documents."""


class LengthRow(Row):
    """The length evaluation in evals.jsonl."""

    documents: int = Field(ge=0)
    bins: tuple[LengthBin, ...]


class Parts(Row):
    """Mean loss of every part of the validation text, at the end of a run: {"eval": "parts"} in evals.jsonl."""

    of: Literal["document", "window", "document block", "window block"]
    """Kind of a part: a window where the whole text is one document, a block of neighbours where there are very many."""
    tokens: tuple[int, ...]
    """Targets of each part."""
    loss_nats: tuple[float, ...]
    """Mean loss of each part over its targets, rounded to 1e-6."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not self.tokens or len(self.tokens) != len(self.loss_nats) or min(self.tokens) < 1:
            raise ValueError("tokens and loss_nats need one positive number of tokens and one loss a part")
        return self


Seeds = tuple[int, int]
"""Seed of the weights and seed of the batches, which a run shares with its partner in another arm."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A finished run."""

    name: str
    """Name of its directory, without the folders above it."""
    path: Path
    """Its directory, as it was given."""
    config: RunConfig
    env: dict[str, str]
    """Provenance, every value as text."""
    params: int
    flops_per_token: int
    """Operations of a training step per token, as the run counted them; older runs have the count from sizes."""
    val: tuple[ValRow, ...]
    """Validations by step, each step once; the last is at the run's last step."""
    length: LengthRow | None
    train: tuple[TrainRow, ...]
    timing: tuple[TimingRow, ...]
    parts: Parts | None = None
    """The last validation by documents; None for older runs, which did not record it."""
    trunk: str | None = None
    """Name of the run that it branched off; None where it did not."""
    told_apart: bool = False
    """Whether runs of another version of its method's file are beside it, so that the file's stem is ambiguous."""
    own_stages: bool = False
    """Whether its stages of the batch are those of its method, as far as the method's file can be read."""
    skipped: int = 0
    """Batches that made no update (docs/policies.md)."""
    search: Search | None = None
    """The search that its config links; None where it links none, or where the search is not found."""

    @property
    def method(self) -> str:
        """Name of the method, and of the seams that others lend it."""
        return arm(self.config.method, self.config.seams.lenders, whole=self.told_apart)

    @property
    def seeds(self) -> Seeds:
        """The seeds by which this run is paired with those of other arms."""
        return self.config.seed, self.config.data.seed


def load_runs(paths: Iterable[str | Path]) -> list[RunRecord]:
    """Read finished run directories, in the order given.

    Raises:
        ConfigError: no directory is given, one is no run directory, or a run isn't finished.
        DataError: the files of a finished run are damaged or incomplete.
    """
    records = [_load(Path(path)) for path in paths]
    if not records:
        raise ConfigError("no run directories given; give at least one that `ngptlab train` finished")
    versions: dict[str, set[str]] = {}
    for record in records:
        versions.setdefault(record.config.arm, set()).add(whole_arm(record.config))
    return [
        replace(record, told_apart=True) if len(versions[record.config.arm]) > 1 else record
        for record in records
    ]


def whole_arm(config: RunConfig) -> str:
    """Name of the run's arm, with the digests of methods that come from a user's files."""
    return arm(config.method, config.seams.lenders, whole=True)


def steady_seconds(runs: Sequence[RunRecord]) -> list[float]:
    """Step times of all these runs, without the first steps of each (see `series.steady`)."""
    return [second for run in runs for second in series.steady([row.step_seconds for row in run.timing])]


def _load(path: Path) -> RunRecord:
    run = Run(path)
    try:
        records = check_finished(run)
        summary, env, trunk = run.summary, run.env, run.trunk
        skipped = records.get(SKIPPED, [])
    except CheckpointError as error:
        raise DataError(str(error)) from None
    except OSError as error:
        raise _damaged(path, f"unreadable record: {error}") from None
    if not (ending := ending_of(summary)).done:
        raise _unfinished(path, ending, run.config.train.steps)
    evals = records["evals"]
    val = _rows(path, ValRow, [e for e in evals if e.get("eval") == "val"])
    length = _rows(path, LengthRow, [e for e in evals if e.get("eval") == "length"])
    if not val or val[-1].step != run.config.train.steps:
        reached = f"ends at step {val[-1].step}" if val else "is missing"
        raise _damaged(path, f"its validation {reached}, the run has {run.config.train.steps} steps")
    parts = _rows(path, Parts, [e for e in evals if e.get("eval") == "parts"])
    if parts and parts[-1].step != run.config.train.steps:
        raise _damaged(path, f"its losses by document are of step {parts[-1].step}, not of its last")
    params = summary.get("params")
    if not isinstance(params, int) or isinstance(params, bool) or params < 0:
        raise _damaged(path, "summary.json lacks the number of params")
    flops = summary.get("flops_per_token")
    if not isinstance(flops, int) or isinstance(flops, bool) or flops < 1:
        flops = token_flops(run.config.model, run.config.train.context).total
    return RunRecord(
        name=printable(path.resolve().name),
        path=path,
        config=run.config,
        env={
            printable(str(key)): printable(_text(value))
            for key, value in env.items()
            if value not in (None, "")
        },
        params=params,
        flops_per_token=flops,
        val=val,
        trunk=None if trunk is None else printable(trunk),
        own_stages=run.has_own_stages,
        search=find(run.config, study=path.resolve().parent.parent),
        skipped=len(skipped),
        length=length[-1] if length else None,
        parts=parts[-1] if parts else None,
        train=_rows(path, TrainRow, records["metrics"]),
        timing=_rows(path, TimingRow, records["timing"]),
    )


R = TypeVar("R", bound=Row)


def _rows(path: Path, kind: type[R], records: list[Any]) -> tuple[R, ...]:
    """Rows of a stream."""
    try:
        rows: list[R] = TypeAdapter(list[kind]).validate_python(records)  # type: ignore[valid-type]
    except ValidationError as error:
        raise _damaged(path, f"{kind.__name__}: {explain(error)}") from None
    return tuple(rows)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path}: damaged ({' '.join(what.split())[:300]}); train it again, or leave it out")


def _unfinished(path: Path, ending: Ending, steps: int) -> ConfigError:
    status = ending.status or "still running or interrupted"
    where = f" at step {ending.step} of {steps}" if ending.step is not None else ""
    reason = f": {' '.join(ending.reason.split())[:200]}" if ending.reason else ""
    return ConfigError(
        f"{path}: not finished ({status}{where}{reason}); train it to its end, or leave it out"
    )
