"""The numbers of `report.json`, field by field, as the plain dictionaries that are written.

Units are in the names. Losses are nats per token, `step` counts finished optimizer steps, and `tokens` are training tokens.
`None` (null in the file) means that these runs don't give the number.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ngptlab.stats import estimates as stats
from ngptlab.stats.by_document import OverParts
from ngptlab.stats.costs import Cost, Measure
from ngptlab.stats.doubts import Searched
from ngptlab.stats.gaps import Crossover, GapCurve
from ngptlab.studies.speedup.numbers import SpeedUp


class ValPoint(Cost):
    """Validation loss of a method at one step, mean over its seeds."""

    loss_nats: float
    stderr: float
    """Standard error over the seeds; for one seed, over the validation set."""
    ci95: float | None
    """Half-width of the 95% interval over the seeds by Student's t; None for one seed."""
    by_seed: list[float]
    """Losses in the order of the method's `seeds`."""


class TrainPoint(Cost):
    """Training loss of a method, mean over its seeds and over a block of steps that ends at `step`."""

    loss_nats: float
    by_seed: list[float]
    lr: NotRequired[float | None]
    """Learning rate at `step`. It is absent from older files, and None where the runs did not record it."""
    grad_norm: NotRequired[float | None]
    """Norm of the gradient before clipping, a mean as the loss is."""
    grad_norm_by_seed: NotRequired[list[float]]


LengthPoint = TypedDict(
    "LengthPoint",
    {
        "from": int,
        "to": int,
        "loss_nats": float,
        "stderr_nats": float | None,
        "ci95_nats": float | None,
        "by_seed": list[float],
        "perplexity": float | None,
    },
)
"""Loss of a method at positions `from` <= t < `to` of long documents, mean over its seeds.

`stderr_nats` is over the seeds; for one seed, over the documents. `ci95_nats` is over the seeds only.
"""


class MethodNumbers(TypedDict):
    """One method. Its settings are those of its first run; `warnings` names differences between its runs."""

    params: int
    tokens: int
    seeds: list[str]
    lr: float
    lr_grid: list[float]
    lr_note: str | None
    """Why the method is not tuned; None where it is."""
    search: str
    """The search that tuned the method; empty where it links none."""
    search_runs: int | None
    """Number of the search's runs for this method."""
    weight_decay: float | None
    warmup_steps: int | None
    final_loss_nats: float
    final_loss_stderr: float
    final_loss_ci95: float | None
    """Half-width of the 95% interval over the seeds by Student's t; None for one seed."""
    stderr_kind: Literal["seeds", "validation"]
    final_losses_by_seed: dict[str, float]
    bits_per_byte: float
    perplexity: float | None
    step_seconds_median: float | None
    step_seconds_iqr: float | None
    tokens_per_second: float | None
    val: list[ValPoint]
    train: list[TrainPoint]
    length: list[LengthPoint]
    length_documents: int | None
    cooldown_start: Cost | None
    """Step at which the cooldown begins; None where the schedule has none."""
    untimed: list[str]
    """Names of runs that did not record every step's time, so that the method has no seconds."""


class OverDocuments(TypedDict):
    """The part of a gap that is over documents of the validation text."""

    over_parts: OverParts | None
    """The gap over documents, for arms with one seed each. Its error is not over seeds."""
    not_over_parts: str
    """Why these documents were not paired though both arms recorded them; empty otherwise."""


class Gap(OverDocuments):
    """A method minus the baseline: negative means that the method has the lower loss."""

    paired_seeds: list[str]
    steps: list[int]
    gap_nats: list[float]
    stderr: list[float] | None
    ci95: list[float] | None
    """Half-widths of the 95% interval over the seeds by Student's t; None under two."""
    by_seed: list[list[float]]
    """The gap of each of `paired_seeds` at each of `steps`."""
    count: int
    """Number of seeds behind an error: the pairs, or without pairs the seeds of the smaller arm."""
    final_step: int
    final_loss_nats: float
    """Mean final loss of the method over the seeds of the gap."""
    baseline_final_loss_nats: float
    final_gap_nats: float
    final_gap_stderr: float | None
    final_gap_ci95: float | None
    """Half-width of the 95% interval over the seeds (Student's t)."""
    final_difference: stats.Difference | None
    """The final gap with its tests, paired and unpaired; None where no seeds are shared."""
    crossovers: list[Crossover]
    last_sign_change_step: float | None
    in_cooldown: bool | None
    step_time_ratio: float | None
    at_equal: dict[Measure, GapCurve]
    """The gap at equal tokens, operations and seconds, where these are known; `gap_nats` is that at equal steps."""


class Schedule(TypedDict):
    """The baseline's schedule and batch; `warnings` names methods that differ from it."""

    shape: str
    steps: Annotated[int, Field(gt=0)]
    step_tokens: int
    context: int
    cooldown_shape: str | None
    cooldown_steps: int
    cooldown_start_step: int | None


class RunLine(TypedDict):
    """One run directory."""

    name: str
    hash: str
    method: str
    seed: int
    data_seed: int
    status: Literal["done"]
    steps: int
    final_loss_nats: float
    commit: str | None


class Difference(TypedDict):
    """A setting in which methods differ, with each method's value."""

    field: str
    values: dict[str, str]


class Finding(TypedDict):
    """Sentences on one method."""

    method: str
    text: str


class Sample(TypedDict):
    """What a method's model wrote from an end of text on."""

    method: str
    run: str
    """Name of the run whose model it is; empty where no run has a checkpoint."""
    step: int | None
    """Steps after which the model was kept; None without a sample."""
    text: str
    why_not: str
    """Why there is no sample; empty where there is one."""
    max_tokens: int
    temperature: float
    seed: int


class StudyNumbers(TypedDict):
    """A study given beside the runs. Its files have all of its numbers."""

    kind: str
    title: str
    answer: str
    caption: str
    warnings: list[str]
    columns: list[str]
    rows: list[list[float | str | None]]
    files: list[str]
    """Paths of the files relative to the page."""


class StudiesOnly(TypedDict):
    """`report.json` of studies without runs."""

    title: str
    headline: str
    findings: list[Finding]
    warnings: list[str]
    studies: list[StudyNumbers]


class Summary(Searched):
    """The content of `report.json`."""

    title: str
    headline: str
    findings: list[Finding]
    baseline: str
    methods: dict[str, MethodNumbers]
    gaps: dict[str, Gap]
    speedups: list[SpeedUp]
    """Speed-ups of each method, from runs of several lengths where there are some, and from points within runs."""
    studies: list[StudyNumbers]
    schedule: Schedule
    runs: list[RunLine]
    config: dict[str, str]
    config_differences: list[Difference]
    env: dict[str, list[str]]
    samples: NotRequired[list[Sample]]
    """Absent where no samples were asked for, and from older files."""
