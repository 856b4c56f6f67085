"""What a run is, as frozen records: everything that decides its numbers, and its hash. Imports no torch.

A recipe returns a `RunConfig`; the command line overrides any field by its path (`--train.steps 60`); `config.json` in a
run directory is the resolved record. `None` stands only where the method decides (its own weight decay, its own warm-up);
`methods.resolve` puts the value in before anything is hashed or trained.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ngptlab.config import method_name
from ngptlab.config.draws import Initial, initial
from ngptlab.config.frozen import Section
from ngptlab.config.seams import SeamsConfig
from ngptlab.config.training import TrainConfig
from ngptlab.disk import is_utf8
from ngptlab.errors import nearest, shown

SEEDS = 2**32
"""Seeds are below this number. torch's generator takes no more bits: seed 2**32 would give the weights of seed 0."""
LONGEST_PATH = 4096
"""Characters of a path or a token; no system has longer paths."""
MAX_LAYERS = 4096
"""Building so many takes seconds, and deeper models have not been trained."""
MAX_THREADS = 1024
"""Where the system refuses far more threads, the process ends without a message."""


class Dims(Section):
    """Sizes of a model. Axis letters in tensor names: V, D, H, K = D / H, F (docs/notation.md)."""

    vocab_size: int = Field(gt=0)
    """V: size of the vocabulary, padding included."""
    num_layers: int = Field(gt=0, le=MAX_LAYERS)
    """L: number of blocks, each attention then MLP."""
    num_heads: int = Field(gt=0)
    """H: attention heads; d_model must be an even multiple of it, because RoPE turns pairs of channels."""
    d_model: int = Field(gt=0)
    """D: width of the residual stream."""
    d_ff: int = Field(default=0, ge=0)
    """F: hidden width of the MLP. 0: int(8/3 d_model), the replication's."""

    @model_validator(mode="after")
    def _derive_and_check(self) -> Self:
        if self.d_ff == 0:
            object.__setattr__(self, "d_ff", self.default_d_ff(self.d_model))
        if self.d_model % self.num_heads or (self.d_model // self.num_heads) % 2:
            raise ValueError(
                f"d_model {self.d_model} over num_heads {self.num_heads} must be a whole, even head width (RoPE turns pairs)"
            )
        return self

    @staticmethod
    def default_d_ff(d_model: int) -> int:
        """The replication's MLP width for three matrices: int(8/3 d_model)."""
        return int(8 / 3 * d_model)

    @property
    def d_head(self) -> int:
        """K: width of one head."""
        return self.d_model // self.num_heads


class DataConfig(Section):
    """The corpus, its tokens, and the order of training windows."""

    source: str = "stdlib"
    """`stdlib` (Python's own library source), `text:PATH` (a text file; a folder of .txt .md .py .jsonl .jsonl.zst .parquet), or
    `shards:DIR`."""
    tokenizer: str = "bytes"
    """`bytes` (256 values and an end-of-text), `gpt2` (BPE through tiktoken) or a `tokenizer.json` of the tokenizers library."""
    end_of_text: str = ""
    """The token before every document, for a tokenizer file with no usual end-of-text token, or several. Empty: the usual one."""
    val_share: float = Field(default=0.05, gt=0, lt=0.5)
    """Fraction of documents, chosen by hash of their content, kept for validation."""
    long_share: float = Field(default=0.05, ge=0, lt=0.5)
    """Fraction of documents, among those long enough for the length evaluation, kept for it."""
    seed: int = Field(default=0, ge=0, lt=SEEDS)
    """Seed of the order of training windows."""
    order: Literal["shuffled", "sequential"] = "shuffled"
    """`shuffled`: a new order each epoch. `sequential`: as in the files, the replication's; `seed` has no effect."""

    @field_validator("source", "tokenizer", "end_of_text")
    @classmethod
    def _is_utf8(cls, text: str, info: ValidationInfo) -> str:
        """Refuse a path that isn't UTF-8, because writing the config, a file in UTF-8, would fail after all work."""
        if len(text) > LONGEST_PATH:
            raise ValueError(
                f"data.{info.field_name} {shown(text)}: {len(text)} characters, at most {LONGEST_PATH}"
            )
        if not is_utf8(text):
            raise ValueError(
                f"data.{info.field_name} {shown(text)}: not UTF-8, which a config must be; rename it, or give a link to it of "
                "another name (`ln -s`)"
            )
        return text

    @model_validator(mode="after")
    def _check_tokenizer(self) -> Self:
        is_file = self.tokenizer.endswith(".json")
        # `unknown` is not offered: only an imported model may have it.
        if not is_file and self.tokenizer not in ("bytes", "gpt2", "unknown"):
            raise ValueError(
                f"data.tokenizer: given {shown(self.tokenizer)}; {nearest(self.tokenizer, ('bytes', 'gpt2'))}, "
                "or the path of a tokenizer.json"
            )
        if self.end_of_text and not is_file:
            raise ValueError(
                f"data.end_of_text {shown(self.end_of_text)}: the {self.tokenizer} tokenizer has its own; leave it out"
            )
        return self


Decay = Annotated[float, Field(ge=0, lt=1 - 2**-25)]
"""A fraction that is kept at each step. From the upper bound on it is 1 in float32."""


class OptimConfig(Section):
    """AdamW and gradient clipping."""

    lr: float = Field(default=2**-9, gt=0)
    """Peak learning rate."""
    lr_grid: tuple[PositiveFloat, ...] = ()
    """Provenance: the learning rates among which `lr` was chosen for this method; the report warns when it sits on an edge."""
    search: str = Field(default="", pattern=r"^([0-9a-f]{8})?$")
    """Provenance: the search (`ngptlab sweep --search`) whose best settings these are. It is no part of the hash."""
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    """Decay of Adam's first and second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """Adam's epsilon."""
    weight_decay: float | None = Field(default=None, ge=0)
    """Decoupled decay of every matrix. None: the method's own."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest global gradient norm."""
    init: str = "std:0.02"
    """How matrices are drawn: `std:0.02`, `fan_in` (d_in^-1/2), `fan_in:0.5`; one role otherwise: `std:0.02,unembedding=zero`."""
    alpha_init: float | None = Field(default=None, gt=0, le=1)
    """Initial value of the learned alpha, for a method that has it. None: the method's own."""

    @field_validator("init")
    @classmethod
    def _one_text(cls, value: str) -> str:
        return initial(value).text


class ParamConfig(Section):
    """How initial values, learning rates, decay and multipliers depend on width, and under nuGPT on depth and horizon."""

    rules: Literal["sp", "mup", "nugpt"] = "sp"
    """`sp`: not at all. `mup`: arXiv:2203.03466, as the replication has it. `nugpt`: arXiv:2604.27077, for normalized models."""
    base_width: int = Field(default=0, ge=0)
    """d_model at which the rules change nothing; learning rates are tuned there. Needed by all rules but `sp`."""
    base_layers: int = Field(default=0, ge=0)
    """`nugpt` only: alpha starts at 0.05 base_layers / model.num_layers, its rule over depth. 0: where the method starts it."""
    base_tokens: int = Field(default=0, ge=0)
    """`nugpt` only: learning rates times (training tokens / base_tokens)^-1/3, its rule over the horizon. 0: no such factor."""

    @property
    def text(self) -> str:
        """The rules and their bases, for people."""
        bases = {"width": self.base_width, "layers": self.base_layers, "tokens": self.base_tokens}
        return ", ".join([self.rules, *(f"base {name} {base}" for name, base in bases.items() if base)])

    @model_validator(mode="after")
    def _needs_a_base(self) -> Self:
        if (self.rules == "sp") != (self.base_width == 0):
            raise ValueError(
                f"param.rules {self.rules} with param.base_width {self.base_width}: give a base width for mup and nugpt, "
                "and none for sp"
            )
        for name in ("base_layers", "base_tokens"):
            if getattr(self, name) and self.rules != "nugpt":
                raise ValueError(
                    f"param.{name} {getattr(self, name)} with param.rules {self.rules}: a rule of nugpt alone; "
                    "leave it at 0, or take nugpt"
                )
        return self


class ScheduleConfig(Section):
    """Learning rate over the steps, relative to its peak."""

    shape: Literal["wsd", "cosine", "constant", "method"] = "wsd"
    """`wsd`: warm-up, constant, cooldown to 0, unless the method has a shape of its own: then `method`. `cosine`: warm-up, then
    half a cosine to 0. `constant`: warm-up only."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Linear warm-up. None: the method's own, at most 5% of the run."""
    cooldown_frac: float = Field(default=0.3, ge=0, le=1)
    """Fraction of all steps that are in the cooldown (`wsd` only)."""
    cooldown_shape: Literal["linear", "1-sqrt"] = "linear"
    """Shape of the cooldown (`wsd` only); 1-sqrt is arXiv:2405.18392's."""


class EvalConfig(Section):
    """What is measured on held-out text."""

    every: int = Field(default=50, gt=0)
    """Steps between validation losses; the first and the last step are always measured."""
    at: tuple[PositiveInt, ...] = ()
    """Further steps to measure. They add lines to `evals.jsonl` and change none, so they are no part of the hash."""
    val_tokens: int = Field(default=262_144, gt=0)
    """Tokens of the fixed validation set, the same in every run."""
    windows: Literal["first", "spread"] = "first"
    """Place of these tokens in the split: `first`: at its beginning; `spread`: at even distances, so that all documents count."""
    length_factor: int = Field(default=8, ge=1)
    """Longest context of the length evaluation, in training contexts."""
    length_documents: int = Field(default=64, ge=0)
    """Held-out long documents read by the length evaluation. 0: none."""


class CheckpointConfig(Section):
    """When weights are saved, and what is kept. Only with train.non_finite rewind is some of it hashed: `every` and `at`."""

    every: int = Field(default=200, gt=0)
    """Steps between checkpoints; the last step is always saved."""
    keep: int = Field(default=2, ge=2)
    """Newest checkpoints kept; two at least, so that a damaged one has a predecessor."""
    at: tuple[PositiveInt, ...] = ()
    """Further steps to save, and to keep: those from which other runs branch off."""
    keep_every: int = Field(default=0, ge=0)
    """Checkpoints of every so many steps are kept too, a multiple of `every`. 0: none."""
    keep_best: Literal["off", "on"] = "off"
    """on: the checkpoint with the lowest validation loss is kept too."""
    damaged: Literal["fall_back", "stop"] = "fall_back"
    """Where a run goes on from and the newest checkpoint is damaged: `fall_back` to the one before, or `stop`."""
    asynchronous: Literal["off", "on"] = "off"
    """on: training goes on while a checkpoint is written, from a copy in the CPU's memory. The same bytes."""

    @model_validator(mode="after")
    def _check_kept(self) -> Self:
        if self.keep_every % self.every:
            raise ValueError(
                f"checkpoint.keep_every {self.keep_every} is no multiple of checkpoint.every {self.every}, so there would be "
                "nothing to keep; change one of them"
            )
        return self


class DeviceConfig(Section):
    """Where and how a run is computed. Meant to change speed only, so it is no part of the hash."""

    kind: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is one."""
    threads: int = Field(default=0, ge=0, le=MAX_THREADS)
    """CPU threads. 0: torch's own choice. Bit-exact resume needs the same number."""
    micro_batch: int = Field(default=0, ge=0)
    """Sequences in one forward and backward; must divide batch_size, and a process's share of it. 0: all of them."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile. auto: on with CUDA, off on CPU (cold compilation costs more than a small run) and with `shard` on."""
    graphs: Literal["auto", "off"] = "auto"
    """CUDA graphs. auto: compiled for CUDA, a run's forward and backward, or a stack's whole update, are one graph. off: none."""
    recompute: Literal["off", "on"] = "off"
    """on: blocks run once more in the backward instead of keeping activations for it. Less memory, a third more operations."""
    shard: Literal["off", "optimizer", "on"] = "off"
    """optimizer: each weight's update, and what the optimizer keeps for it, are in one process of a run alone (torchrun). on: the
    weight and its gradient, too; others are lent it while they use it."""
    timeout: float = Field(default=600.0, gt=0, le=86_400)
    """Seconds that a process waits for another one of the same run (torchrun). The longest wait is for a checkpoint."""

    @model_validator(mode="after")
    def _lends_without_compiling(self) -> Self:
        if self.shard == "on" and self.compile == "on":
            raise ValueError(
                "device.shard on: a compiled pass wants its weights to stay where they are; leave --device.compile on out, or "
                "give --device.shard optimizer"
            )
        return self


class RunConfig(Section):
    """Everything that decides a run's numbers, and where it is computed."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    """Name of the recipe."""
    method: str
    """A file in ngptlab/methods/, or your own: `--method ./my_idea.py` is recorded by stem and content, `my_idea@<digest>`."""
    seed: int = Field(default=0, ge=0, lt=SEEDS)
    """Seed of the initial weights."""
    seams: SeamsConfig = SeamsConfig()
    model: Dims
    data: DataConfig = DataConfig()
    optim: OptimConfig = OptimConfig()
    param: ParamConfig = ParamConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    device: DeviceConfig = DeviceConfig()
    track: Literal["off", "trackio", "wandb", "tensorboard"] = "off"
    """Tracker that gets what the run records; needs the extra of its name. Changes no number, so it is no part of the hash."""

    @model_validator(mode="after")
    def _check_across(self) -> Self:
        micro = self.device.micro_batch
        for length, sequences in self.train.stages:
            if micro and length and sequences % micro:
                what = "train.batch_size" if sequences == self.train.batch_size else "a stage's batch of"
                raise ValueError(f"device.micro_batch {micro} must divide {what} {sequences}")
        warmup = self.schedule.warmup_steps or 0
        cooldown = cooldown_steps(self) if self.schedule.shape == "wsd" else 0
        if warmup + cooldown > self.train.steps:
            raise ValueError(
                f"schedule.warmup_steps {warmup} and a cooldown of {cooldown} steps exceed train.steps {self.train.steps}; "
                "shorten one of them"
            )
        for name, steps in (("eval.at", self.eval.at), ("checkpoint.at", self.checkpoint.at)):
            if late := [step for step in steps if step > self.train.steps]:
                raise ValueError(f"{name} {late[0]} is beyond train.steps {self.train.steps}; leave it out")
        if self.checkpoint.keep_best == "on" and self.checkpoint.every % self.eval.every:
            raise ValueError(
                f"checkpoint.keep_best: checkpoints every {self.checkpoint.every} steps are not all measured, with a validation "
                f"every {self.eval.every} (eval.every); make the first a multiple of the second"
            )
        return self

    @property
    def hash(self) -> str:
        """Eight hex digits over every field that decides numbers, as `science` has them."""
        return hashlib.sha256(json.dumps(self.science(), sort_keys=True).encode()).hexdigest()[:8]

    @property
    def run_name(self) -> str:
        """Name of the run's directory, readable and unique."""
        return f"{self.name}-{self.arm}-s{self.seed}-{self.hash}"

    @property
    def arm(self) -> str:
        """The method and the seams that others lend it, as a word for a folder's name: `a`, or `a+b.norm.qk`."""
        return method_name.arm(self.method, self.seams.lenders)

    def science(self) -> dict[str, Any]:
        """The fields under the hash, as plain JSON values: all but `checkpoint`, `device`, `eval.at`, `optim.search` and `track`.

        A field that was added later stays out at its default, so that earlier hashes stay valid. Where a run may go back to a
        checkpoint, the steps at which it saves decide its numbers, so they are there.
        """
        fields = self.model_dump(mode="json", exclude={"checkpoint", "device", "track"})
        fields["method"] = method_name.identity(self.method)
        for name in ("base_layers", "base_tokens"):
            if not fields["param"][name]:
                del fields["param"][name]
        del fields["eval"]["at"]
        if self.eval.windows == "first":
            del fields["eval"]["windows"]
        if self.param == ParamConfig():
            del fields["param"]
        if self.param.rules == "mup" and self.model.d_model != self.param.base_width:
            # Until 2026-11 the unembedding started at zero at all widths but the base, so these fields meant another run.
            fields["param"]["unembedding"] = "drawn at every width"
        del fields["optim"]["search"]
        if self.optim.init == Initial().text:
            del fields["optim"]["init"]
        if self.optim.alpha_init is None:
            del fields["optim"]["alpha_init"]
        if self.train.weights_dtype == "float32":
            del fields["train"]["weights_dtype"]
        if not self.train.batch_stages:
            del fields["train"]["batch_stages"]
        if self.train.non_finite == "stop":
            del fields["train"]["non_finite"]
        if self.train.non_finite == "rewind":
            fields["checkpoint"] = self.checkpoint.model_dump(mode="json", include={"every", "at"})
        if self.train.spikes != "skip":  # a warning changes nothing
            del fields["train"]["spikes"]
        if self.data.order == "shuffled":
            del fields["data"]["order"]
        if not self.data.end_of_text:
            del fields["data"]["end_of_text"]
        # Seams are left out one by one: a seam that `Parts` gains later must not change the hash of earlier mixtures.
        fields["seams"] = {s: method_name.identity(lender) for s, lender in self.seams.lenders.items()}
        if not fields["seams"]:
            del fields["seams"]
        return fields


def cooldown_steps(config: RunConfig) -> int:
    """Length of the WSD cooldown in steps."""
    return round(config.schedule.cooldown_frac * config.train.steps)
